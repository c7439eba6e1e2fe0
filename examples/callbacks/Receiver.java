// Receives callbacks of knouds-worker with Java 17 or newer and no libraries:
// CALLBACK_SECRET=whsec_… java Receiver.java 9000
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receiver {
  static final byte[] KEY =
      Base64.getDecoder().decode(System.getenv("CALLBACK_SECRET").replaceFirst("^whsec_", ""));

  /** In an app: a table, written in the transaction that does the work. */
  static final Set<String> SEEN = ConcurrentHashMap.newKeySet();

  static boolean isGenuine(HttpExchange exchange, byte[] body) throws Exception {
    String id = exchange.getRequestHeaders().getFirst("webhook-id");
    String timestamp = exchange.getRequestHeaders().getFirst("webhook-timestamp");
    String signatures = exchange.getRequestHeaders().getFirst("webhook-signature");
    if (id == null || timestamp == null || signatures == null) return false;
    long age = System.currentTimeMillis() / 1000 - Long.parseLong(timestamp);
    if (Math.abs(age) > 300) return false;
    Mac mac = Mac.getInstance("HmacSHA256");
    mac.init(new SecretKeySpec(KEY, "HmacSHA256"));
    mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
    byte[] expected = mac.doFinal(body);
    for (String one : signatures.split(" ")) {
      if (!one.startsWith("v1,")) continue;
      byte[] given = Base64.getDecoder().decode(one.substring(3));
      if (MessageDigest.isEqual(expected, given)) return true; // constant time
    }
    return false;
  }

  static void receive(HttpExchange exchange) throws IOException {
    byte[] body = exchange.getRequestBody().readAllBytes(); // the bytes as they came
    boolean isGenuine;
    try {
      isGenuine = isGenuine(exchange, body);
    } catch (Exception malformed) {
      isGenuine = false;
    }
    if (isGenuine && SEEN.add(exchange.getRequestHeaders().getFirst("webhook-id"))) {
      // Parse it with the JSON library of your app; of two events of a job the higher sequence counts.
      System.out.println(new String(body, StandardCharsets.UTF_8));
    }
    exchange.sendResponseHeaders(isGenuine ? 204 : 400, -1);
    exchange.close();
  }

  public static void main(String[] args) throws IOException {
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 0);
    server.createContext("/knouds", Receiver::receive);
    server.start();
  }
}
