-- Claim due members of a sorted set under a lease: they are due again when the lease ends.
--
-- KEYS: 1 the sorted set
-- ARGV: 1 now, 2 end of the lease, 3 maximum number of members
-- Returns: the members claimed, the longest due first
local due = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", ARGV[1], "LIMIT", 0, ARGV[3])
for _, member in ipairs(due) do
  redis.call("ZADD", KEYS[1], ARGV[2], member)
end
return due
