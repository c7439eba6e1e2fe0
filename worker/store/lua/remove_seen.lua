-- Remove a member of a sorted set, unless its score has grown since it was read.
--
-- KEYS: 1 the sorted set
-- ARGV: 1 the member, 2 the score that was read
-- Returns: 1 when it was removed, else 0
local score = redis.call("ZSCORE", KEYS[1], ARGV[1])
if score and tonumber(score) <= tonumber(ARGV[2]) then
  return redis.call("ZREM", KEYS[1], ARGV[1])
end
return 0
