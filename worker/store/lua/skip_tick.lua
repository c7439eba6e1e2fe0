-- Leave ticks of a schedule out, if it and its highest tick are still what the caller read.
--
-- KEYS: 1 the hash of schedules, 2 of their highest ticks, 3 of their skips
-- ARGV: 1 name, 2 revision of the schedule, 3 its highest tick, 4 the last tick that is left out,
--       5 what to say of it
-- Returns: 1 when written, 0 when another writer came first, or Redis' clock is before the tick
local name = ARGV[1]
local revision = string.match(redis.call("HGET", KEYS[1], name) or "", "^%d+")
if revision ~= ARGV[2] then return 0 end
if (redis.call("HGET", KEYS[2], name) or "0") ~= ARGV[3] then return 0 end
if tonumber(redis.call("TIME")[1]) < tonumber(ARGV[4]) then return 0 end
redis.call("HSET", KEYS[2], name, ARGV[4])
redis.call("HSET", KEYS[3], name, ARGV[5])
return 1
