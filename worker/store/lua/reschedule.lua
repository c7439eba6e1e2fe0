-- Set the next poll of running jobs and their poll history. A job that is no longer in flight, or
-- whose next poll another process has set meanwhile, is left alone.
--
-- KEYS: 1 the in-flight set, 2 the hash of poll histories
-- ARGV: for each job its id, the lease it was claimed under ("" for any), the time of its next
--       poll, its poll history
-- Returns: how many were set
local ids, scores, histories = {}, {}, {}
for i = 1, #ARGV, 4 do ids[#ids + 1] = ARGV[i] end
local found = redis.call("ZMSCORE", KEYS[1], unpack(ids))
for n, id in ipairs(ids) do
  local i = 4 * n - 3
  if found[n] and (ARGV[i + 1] == "" or tonumber(found[n]) == tonumber(ARGV[i + 1])) then
    scores[#scores + 1], scores[#scores + 2] = ARGV[i + 2], id
    histories[#histories + 1], histories[#histories + 2] = id, ARGV[i + 3]
  end
end
if #scores == 0 then return 0 end
redis.call("ZADD", KEYS[1], unpack(scores))
redis.call("HSET", KEYS[2], unpack(histories))
return #scores / 2
