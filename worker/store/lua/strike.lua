-- Take a job out of a place its record does not name, if the record is still the one that was read.
--
-- KEYS: 1 the job's hash, 2 the place, a sorted set
-- ARGV: 1 revision read ("" when there is no record), 2 job id
-- Returns: 1 when the id was there and is gone, else 0
local found = redis.call("HGET", KEYS[1], "rev") or ""
if found ~= ARGV[1] then return 0 end
return redis.call("ZREM", KEYS[2], ARGV[2])
