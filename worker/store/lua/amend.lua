-- Replace a string and change sorted sets with it, if the string still is what the caller read.
--
-- KEYS: 1 the string, 2 a hash whose field `bytes` counts the bytes of all such strings, 3.. the
--       sorted sets that the operations name
-- ARGV: 1 the SHA-1 of the expected value, 2 the next value ("" deletes the string), 3 how long it
--       is kept at most (milliseconds), then operations, each a letter, the number of its key, a
--       score and a member:
--         A   add to a sorted set, or set the score
--         L   add, or lower the score
--         R   remove
-- Returns: 1 when written, 0 when the string is another one or gone
local found = redis.call("GET", KEYS[1])
if not found or redis.sha1hex(found) ~= ARGV[1] then return 0 end
if ARGV[2] == "" then redis.call("DEL", KEYS[1]) else redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3]) end
redis.call("HINCRBY", KEYS[2], "bytes", #ARGV[2] - #found)
for i = 4, #ARGV, 4 do
  local key = KEYS[tonumber(ARGV[i + 1])]
  if ARGV[i] == "A" then redis.call("ZADD", key, ARGV[i + 2], ARGV[i + 3])
  elseif ARGV[i] == "L" then redis.call("ZADD", key, "LT", ARGV[i + 2], ARGV[i + 3])
  else redis.call("ZREM", key, ARGV[i + 3]) end
end
return 1
