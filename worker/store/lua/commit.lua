-- Write a job's next version and move it between sets, if nobody changed it meanwhile.
--
-- KEYS: 1 the job's hash; 2.. every other key the operations name
-- ARGV: 1 expected revision ("" when the job must not exist), 2 next revision ("" deletes the job),
--       3 record, 4 number of further fields, then field, value for each of them,
--       then operations, each a letter, the number of its key and its arguments:
--         C key limit          check: the sorted set holds fewer than limit members
--         A key score member   add to a sorted set
--         N key score member   add if absent
--         R key member         remove
--         S key value ms       set a string that expires
--         P key message        publish
-- Returns: {"ok"}, {"superseded", revision found} or {"full", number of the key}; nothing is
--          written but with "ok". A repeated call finds its own revision and is "ok".
local found = redis.call("HGET", KEYS[1], "rev") or ""
if found == ARGV[2] and found ~= "" then return {"ok"} end
if found ~= ARGV[1] then return {"superseded", found} end

local fields = tonumber(ARGV[4])
local first = 5 + 2 * fields
local i = first
while ARGV[i] == "C" do
  local key = tonumber(ARGV[i + 1])
  if redis.call("ZCARD", KEYS[key]) >= tonumber(ARGV[i + 2]) then return {"full", key} end
  i = i + 3
end

if ARGV[2] == "" then
  redis.call("DEL", KEYS[1])
else
  redis.call("HSET", KEYS[1], "rev", ARGV[2], "rec", ARGV[3], unpack(ARGV, 5, first - 1))
end

while i <= #ARGV do
  local op, key = ARGV[i], KEYS[tonumber(ARGV[i + 1])]
  if op == "A" then
    redis.call("ZADD", key, ARGV[i + 2], ARGV[i + 3])
    i = i + 4
  elseif op == "N" then
    redis.call("ZADD", key, "NX", ARGV[i + 2], ARGV[i + 3])
    i = i + 4
  elseif op == "R" then
    redis.call("ZREM", key, ARGV[i + 2])
    i = i + 3
  elseif op == "S" then
    redis.call("SET", key, ARGV[i + 2], "PX", ARGV[i + 3])
    i = i + 4
  elseif op == "P" then
    redis.call("PUBLISH", key, ARGV[i + 2])
    i = i + 3
  else
    return redis.error_reply("commit.lua: unknown operation " .. tostring(op))
  end
end
return {"ok"}
