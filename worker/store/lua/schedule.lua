-- Set or remove a schedule, if it is still what the caller read; its revision is the version of all.
--
-- KEYS: 1 the hash of schedules, 2 of their inputs, 3 of their highest ticks, 4 of their skips
-- ARGV: 1 name, 2 expected value ("" when absent), 3 next record ("" removes it), 4 next inputs (""
--       keeps them), 5 "1" if ticks up to now make no job any more, 6 the most schedules
-- Returns: "ok", "superseded" when another writer came first, "full" when there are too many
local name, record = ARGV[1], ARGV[3]
local found = redis.call("HGET", KEYS[1], name) or ""
if found ~= ARGV[2] then return "superseded" end
local is_new = found == "" and record ~= ""
if is_new and redis.call("HLEN", KEYS[1]) > tonumber(ARGV[6]) then return "full" end
local version = redis.call("HINCRBY", KEYS[1], "", 1)
if record == "" then
  for n = 1, 4 do if n ~= 3 then redis.call("HDEL", KEYS[n], name) end end
  return "ok"
end
redis.call("HSET", KEYS[1], name, version .. " " .. record)
if ARGV[4] ~= "" then redis.call("HSET", KEYS[2], name, ARGV[4]) end
if ARGV[5] == "1" then
  local now, highest = redis.call("TIME")[1], redis.call("HGET", KEYS[3], name)
  if tonumber(highest or 0) < tonumber(now) then redis.call("HSET", KEYS[3], name, now) end
  redis.call("HDEL", KEYS[4], name)
end
return "ok"
