-- Set the next poll of running jobs and note what the last one saw. A job that left is left alone.
--
-- KEYS: 1 the in-flight set; 2.. the hash of each job
-- ARGV: for each job its id, the time of its next poll, its looks
-- Returns: how many were still in flight
local count = 0
for n = 2, #KEYS do
  local i = (n - 2) * 3 + 1
  if redis.call("ZSCORE", KEYS[1], ARGV[i]) then
    redis.call("ZADD", KEYS[1], ARGV[i + 1], ARGV[i])
    redis.call("HSET", KEYS[n], "looks", ARGV[i + 2])
    count = count + 1
  end
end
return count
