-- Let no more jobs join a batch; where all of them have settled by then, it completes.
--
-- KEYS: 1 the hash of the batch, 2 the sorted set of its open jobs, 3 the sorted set of changes
-- ARGV: 1 the time, 2 the name of the batch, 3 the field of the time, or of another that is set
-- Returns: 1 when it was not sealed before, else 0
local sealed = redis.call("HSETNX", KEYS[1], "sealed", 1)
redis.call("HSETNX", KEYS[1], ARGV[3], ARGV[1])
if sealed == 1 and redis.call("ZCARD", KEYS[2]) == 0 then
  redis.call("HINCRBY", KEYS[1], "completions", 1)
end
redis.call("ZADD", KEYS[3], ARGV[1], ARGV[2])
return sealed
