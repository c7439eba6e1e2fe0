-- Change index entries, if the record is still at the revision the caller read.
--
-- KEYS: 1 the hash of the job the entries belong to, or any key that has to exist; 2.. the sorted
--       sets the operations name
-- ARGV: 1 the revision the caller read ("" when key 1 must not exist, "*" when it must), then
--       operations, each a letter, the number of its key and its arguments:
--         A key score member   add, or set the score
--         N key score member   add if absent
--         R key member         remove
-- Returns: how many entries changed, -1 when key 1 has changed since
local expected = ARGV[1]
local exists = redis.call("EXISTS", KEYS[1]) == 1
if expected == "" then
  if exists then return -1 end
elseif not exists then
  return -1
elseif expected ~= "*" and redis.call("HGET", KEYS[1], "rev") ~= expected then
  return -1
end

local changed, i = 0, 2
while i <= #ARGV do
  local op, key = ARGV[i], KEYS[tonumber(ARGV[i + 1])]
  if op == "A" then
    changed = changed + redis.call("ZADD", key, "CH", ARGV[i + 2], ARGV[i + 3])
    i = i + 4
  elseif op == "N" then
    changed = changed + redis.call("ZADD", key, "NX", ARGV[i + 2], ARGV[i + 3])
    i = i + 4
  elseif op == "R" then
    changed = changed + redis.call("ZREM", key, ARGV[i + 2])
    i = i + 3
  else
    return redis.error_reply("repair.lua: unknown operation " .. tostring(op))
  end
end
return changed
