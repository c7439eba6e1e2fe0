-- Store a delivery, unless the same one is stored or its run has ended.
--
-- KEYS: 1 the hash of the run's deliveries, 2 the inbox, 3 the set of the run's jobs, 4 the channel
-- ARGV: 1 the event's field, 2 the delivery, 3 execution id, 4 now, 5 seconds to keep it
-- Returns: "new", "known" or "ended"; only with "new" something is written. After "new" and a space:
--          the error of the message, which fails nothing
if redis.call("HEXISTS", KEYS[1], "ended") == 1 then return "ended" end
if redis.call("HSETNX", KEYS[1], ARGV[1], ARGV[2]) == 0 then return "known" end
local jobs = redis.call("ZRANGE", KEYS[3], 0, -1)
if #jobs > 0 then redis.call("HSET", KEYS[1], "jobs", table.concat(jobs, " ")) end
redis.call("EXPIRE", KEYS[1], ARGV[5])
redis.call("ZADD", KEYS[2], ARGV[4], ARGV[3])
local sent = redis.pcall("PUBLISH", KEYS[4], ARGV[3])
return type(sent) == "table" and "new " .. sent.err or "new"
