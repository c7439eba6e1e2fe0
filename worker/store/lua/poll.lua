-- Claim running jobs whose poll is due under a lease: they are due again when it ends.
--
-- KEYS: 1 the in-flight set, 2 the hash of poll histories
-- ARGV: 1 now, 2 end of the lease, 3 maximum number of jobs, 4.. jobs that are not claimed
-- Returns: the jobs claimed, each followed by when it was due; the poll history of each; when the
--          next poll is due ("" when no other job is in flight)
local skipped = {}
for n = 4, #ARGV do skipped[ARGV[n]] = true end
local more = #ARGV - 3

local function kept(rows, limit)
  local found = {}
  for n = 1, #rows, 2 do
    if not skipped[rows[n]] and #found < 2 * limit then
      found[#found + 1], found[#found + 2] = rows[n], rows[n + 1]
    end
  end
  return found
end

local limit = tonumber(ARGV[3])
local due = kept(redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", ARGV[1], "WITHSCORES", "LIMIT", 0,
  limit + more), limit)
local histories = {}
if #due > 0 then
  local ids, leases = {}, {}
  for n = 1, #due, 2 do
    ids[#ids + 1] = due[n]
    leases[n], leases[n + 1] = ARGV[2], due[n]
  end
  redis.call("ZADD", KEYS[1], unpack(leases))
  histories = redis.call("HMGET", KEYS[2], unpack(ids))
end
local first = kept(redis.call("ZRANGE", KEYS[1], 0, more, "WITHSCORES"), 1)
return {due, histories, first[2] or ""}
