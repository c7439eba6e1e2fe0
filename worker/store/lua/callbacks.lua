-- Claim due callbacks of a host under a lease, unless its breaker is open: then one of them as a
-- probe once the pause is over. The register of hosts then says when to look at the host again.
--
-- KEYS: 1 the register of hosts, 2 the host's queue, 3 the hash of breakers
-- ARGV: 1 the host, 2 now, 3 end of the lease, 4 maximum number
-- Returns: the record of its breaker ("" for none), then the ids claimed, the longest due first
local stored, limit, earliest = redis.call("HGET", KEYS[3], ARGV[1]) or "", tonumber(ARGV[4]), ARGV[2]
if stored ~= "" then
  local open_until = string.match(stored, '"until":([-+.eE0-9]+)')
  if open_until and tonumber(open_until) > tonumber(ARGV[2]) then
    limit, earliest = 0, open_until
  else
    limit, earliest = math.min(limit, 1), ARGV[3]
  end
end
local due = {}
if limit > 0 then due = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", ARGV[2], "LIMIT", 0, limit) end
if stored ~= "" and #due > 0 then  -- the next probe is due when this one has ended
  stored = string.gsub(stored, '"until":[-+.eE0-9]+', '"until":' .. ARGV[3], 1)
  redis.call("HSET", KEYS[3], ARGV[1], stored)
end
for _, id in ipairs(due) do
  redis.call("ZADD", KEYS[2], ARGV[3], id)
end
local first = redis.call("ZRANGE", KEYS[2], 0, 0, "WITHSCORES")[2]
if not first then
  redis.call("ZREM", KEYS[1], ARGV[1])
elseif tonumber(first) > tonumber(earliest) or stored == "" then
  redis.call("ZADD", KEYS[1], first, ARGV[1])
else
  redis.call("ZADD", KEYS[1], earliest, ARGV[1])
end
return {stored, unpack(due)}
