-- Take what is due from a sorted set under a lease: it comes due again when the lease ends.
--
-- KEYS: 1 the sorted set
-- ARGV: 1 now, 2 end of the lease, 3 most to take
-- Returns: the members taken, those due longest first
local due = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", ARGV[1], "LIMIT", 0, ARGV[3])
for _, member in ipairs(due) do
  redis.call("ZADD", KEYS[1], ARGV[2], member)
end
return due
