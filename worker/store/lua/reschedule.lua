-- Set the next poll of running jobs and note what the last one saw. A job that left, or whose next
-- poll somebody else has set meanwhile, is left alone.
--
-- KEYS: 1 the in-flight set, 2 the hash of what polls saw
-- ARGV: for each job its id, the lease it was taken under ("" for any), the time of its next poll,
--       its looks
-- Returns: how many were set
local ids, moves, looks = {}, {}, {}
for i = 1, #ARGV, 4 do ids[#ids + 1] = ARGV[i] end
local found = redis.call("ZMSCORE", KEYS[1], unpack(ids))
for n, id in ipairs(ids) do
  local i = 4 * n - 3
  if found[n] and (ARGV[i + 1] == "" or tonumber(found[n]) == tonumber(ARGV[i + 1])) then
    moves[#moves + 1], moves[#moves + 2] = ARGV[i + 2], id
    looks[#looks + 1], looks[#looks + 2] = id, ARGV[i + 3]
  end
end
if #moves == 0 then return 0 end
redis.call("ZADD", KEYS[1], unpack(moves))
redis.call("HSET", KEYS[2], unpack(looks))
return #moves / 2
