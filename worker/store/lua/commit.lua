-- Write next versions of jobs and their index entries, each job if its revision is unchanged.
--
-- KEYS: every key that the changes name
-- ARGV: for each change the number of its job's hash (0: operations only), expected revision (""
--       when the job must not exist), next revision ("" deletes the job), record, number of
--       further fields, then field, value for each of them, then the number of values that follow,
--       then operations, each a letter, the number of its key and its arguments:
--         C key limit          check, comes first: the sorted set holds fewer than limit members
--         B key field epoch    check, comes next: the number at the head of a field (0: absent)
--         M key limit amount start end   check, comes next: the fields spent and reserved and amount
--                              are no more than limit, and the time of Redis is in [start, end)
--         V key mark           check, comes next: the recovery state of the hash is ready, for this
--                              server; mark is empty, its epoch, or epoch:count, a count it reached
--         X key job            check, comes next: a string is absent or the job
--         O key job            check, comes next: the sorted set has no first member but the job
--         K key                check: no job waits for this one, whose hash has the field children
--                              if one was enqueued to; the sorted set is of those
--         L key prev at by act on note jobs changed hash  append an audit entry behind the one with
--                              the hash prev; comes before all that is written
--         A key score member   add to a sorted set
--         N key score member   add if absent
--         U key score member   lower the score of a member to this one
--         R key member         remove
--         D key field          remove a field of a hash
--         H key name other most amount seconds  add to a field of a hash that expires (0 seconds:
--                              it does not), to the field other if it has none of that name, and
--                              most fields
--         Z key open settled member   append to the sorted set settled; if the batch of the hash is
--                              sealed, and the set open is empty then, it completes once more
--         T key waiting active name at cap  take the turn of a fair key (see fair_turns.py) when
--                              all else is written: it is next behind at; at its cap (0: none) of
--                              the set active it has none, without members of waiting it leaves
--         F key field value    set a field of the hash of another job, if that is there
--         W key score member channel   if the job's hash has the field children, add to a sorted set
--                              and publish "dependencies"
--         S key value ms       set a string that expires
--         P key message        publish, messages of one channel as one, a space between them
--         E key most event     append all events as one entry to a stream, trimmed to about most
-- Returns: for each change "ok", "superseded", "full" (C or M failed), "gated" (B failed, or the
--          time of M), "taken" (X or O failed), "RECOVERING" (V failed) or "CHAIN" and the hash of the last audit entry (it is
--          not prev); only with "ok" it is written. A repeated call finds its own revision, or its
--          own audit entry, and is "ok".
--          Where Redis refuses a write, the error, only for the changes that name its key; an error
--          of P or E fails no change, and is one more reply at the end.
local lists, replies, epochs, i, unannounced = {}, {}, {}, 1  -- epochs: the checked fields, each read once
local completing = {}  -- numbers of the sets of open jobs, by the number of the hash of their batch
local has_children = false  -- whether others were enqueued to wait for the job of the change
local sums, used, now = {}, {}, nil  -- sums: what op H adds, by key; used: what M read, by key
local turns = {}  -- where the operations T are in ARGV
local CHECKS = {C = 3, B = 4, M = 6, K = 2, V = 3, X = 3, O = 3}  -- the letters that come first, and their lengths

local function refusal(reply) return type(reply) == "table" and reply.err or nil end

local function enqueue(op, key, arg1, arg2)
  local list = lists[op .. key] or {op = op, key = key, changes = {}}
  lists[op .. key] = list
  list.changes[#list.changes + 1] = #replies + 1
  list[#list + 1], list[#list + 2] = arg1, arg2
  return list
end

local ready, count  -- the epoch in which the data of this server is ready, false if it is not; read once

local function not_ready(key, epoch)
  if ready == nil then
    local info, replication = redis.pcall("INFO", "server"), redis.pcall("INFO", "replication")
    local failed = refusal(info) or refusal(replication)
    if failed then return failed end
    local server = string.match(info, "run_id:(%w+)") .. string.match(replication, "master_replid:(%w+)")
    local found, of = string.match(redis.call("HGET", key, "state") or "", "^ready (%w+) (%w+)")
    ready, count = of == server and found, tonumber(redis.call("HGET", key, "count") or 0)
  end
  local wanted, least = string.match(epoch, "^(%w*):?(%d*)$")
  if not ready or (wanted ~= "" and wanted ~= ready) or count < (tonumber(least) or 0) then return "RECOVERING" end
end

local function flush()
  for _, list in pairs(lists) do
    local op, key, reply = list.op, list.key
    if op == "A" then reply = redis.pcall("ZADD", key, unpack(list))
    elseif op == "N" then reply = redis.pcall("ZADD", key, "NX", unpack(list))
    elseif op == "U" then reply = redis.pcall("ZADD", key, "XX", "LT", unpack(list))
    elseif op == "R" then reply = redis.pcall("ZREM", key, unpack(list))
    elseif op == "D" then reply = redis.pcall("HDEL", key, unpack(list))
    elseif op == "P" then reply = redis.pcall("PUBLISH", key, table.concat(list, " "))
    else reply = redis.pcall("XADD", key, "MAXLEN", "~", list.most, "*", unpack(list)) end
    local failed = refusal(reply)
    if op == "P" or op == "E" then unannounced = failed or unannounced
    else for _, change in ipairs(failed and list.changes or {}) do replies[change] = failed end end
  end
  lists = {}
end

local function settle(batch, open, settled, member)  -- the score is about the time, and grows
  local time, last = redis.call("TIME"), redis.pcall("HGET", KEYS[batch], "last")
  local at = string.format("%.6f", math.max(time[1] + time[2] / 1e6, (tonumber(last) or 0) + 1e-6))
  completing[batch] = open
  enqueue("A", settled, at, member)
  return refusal(redis.pcall("HSET", KEYS[batch], "last", at))
end

local function complete()
  for batch, open in pairs(completing) do
    if redis.call("HEXISTS", KEYS[batch], "sealed") == 1 and redis.call("ZCARD", KEYS[open]) == 0 then
      redis.call("HINCRBY", KEYS[batch], "completions", 1)
    end
  end
end

--#include fair_turns

local function add_sums()  -- all that one call adds to a field is added at once
  for key, sum in pairs(sums) do
    local failed
    for _, name in ipairs(sum) do
      local amount = string.format("%.0f", sum.amounts[name])
      local reply = redis.pcall("HINCRBY", key, name, amount)
      local is_new = name ~= sum.other and reply == tonumber(amount)
      if is_new and redis.call("HLEN", key) > sum.most then
        redis.call("HDEL", key, name)
        reply = redis.pcall("HINCRBY", key, sum.other, amount)
      end
      failed = failed or refusal(reply)
    end
    if sum.seconds ~= "0" then redis.call("EXPIRE", key, sum.seconds) end  -- the key may be new
    for _, change in ipairs(failed and sum.changes or {}) do replies[change] = failed end
  end
end

local function add(key, name, other, most, amount, seconds)
  local sum = sums[key] or {amounts = {}, other = other, most = tonumber(most), seconds = seconds, changes = {}}
  sums[key], sum.changes[#sum.changes + 1] = sum, #replies + 1
  if not sum.amounts[name] then sum[#sum + 1] = name end
  sum.amounts[name] = (sum.amounts[name] or 0) + tonumber(amount)
end

local function has_room(key, limit, amount, start, finish)
  now = now or tonumber(redis.call("TIME")[1])
  if now < tonumber(start) or now >= tonumber(finish) then return "gated" end
  if not used[key] then
    local found = redis.pcall("HMGET", key, "spent", "reserved")
    if refusal(found) then return found.err end
    used[key] = (tonumber(found[1] or 0) or math.huge) + (tonumber(found[2] or 0) or math.huge)
  end
  local sum = used[key] + amount
  for _, added in pairs(sums[key] and sums[key].amounts or {}) do sum = sum + added end
  if sum > tonumber(limit) then return "full" end
end

local function audit()  -- the audit entry at i: nil if there is none or it is written
  if not (ARGV[i] == "L") then return end
  local key, prev, hash = KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2], ARGV[i + 10]
  local entries = redis.pcall("XREVRANGE", key, "+", "-", "COUNT", 1)
  if refusal(entries) then return entries.err end
  local fields, head = entries[1] and entries[1][2] or {}, ""
  for n = 1, #fields, 2 do if fields[n] == "hash" then head = fields[n + 1] end end
  if head ~= hash then
    if head ~= prev then return "CHAIN " .. head end
    local entry = redis.pcall("XADD", key, "*", "at", ARGV[i + 3], "by", ARGV[i + 4], "act",
      ARGV[i + 5], "on", ARGV[i + 6], "note", ARGV[i + 7], "jobs", ARGV[i + 8], "changed",
      ARGV[i + 9], "prev", prev, "hash", hash)
    if refusal(entry) then return entry.err end
  end
  i = i + 11
end

local function check(key, expected, after)
  local fields = redis.pcall("HMGET", key, "rev", "children")
  if refusal(fields) then return fields.err end
  local found = fields[1] or ""
  has_children = fields[2]
  if found == after and found ~= "" then return "ok" end
  if found ~= expected then return "superseded" end
  while CHECKS[ARGV[i]] do
    local op, arg, problem = ARGV[i], ARGV[i + 2], nil
    key = KEYS[tonumber(ARGV[i + 1])]
    if op == "C" then
      flush()
      problem = redis.call("ZCARD", key) >= tonumber(arg) and "full"
    elseif op == "B" then
      local name = key .. arg
      epochs[name] = epochs[name] or redis.call("HGET", key, arg) or "0"
      problem = (string.match(epochs[name], "^%d+") or "0") ~= ARGV[i + 3] and "gated"
    elseif op == "M" then problem = has_room(key, arg, ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
    elseif op == "K" then
      if has_children then flush() end
      problem = has_children and redis.call("ZCARD", key) > 0 and "full"
    elseif op == "V" then problem = not_ready(key, arg)
    else
      local owner = op == "X" and redis.call("GET", key)
      if op == "O" then owner = redis.call("ZRANGE", key, 0, 0)[1] end
      problem = owner and owner ~= arg and "taken"
    end
    if problem then return problem end
    i = i + CHECKS[op]
  end
  return audit()
end

while i <= #ARGV do
  local key, expected, after = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  local record, fields_start = ARGV[i + 3], i + 5
  local fields_end = fields_start + 2 * ARGV[i + 4]
  local ops_end = fields_end + ARGV[fields_end]
  i = fields_end + 1
  local reply
  if key then reply = check(key, expected, after) else reply = audit() end
  if not reply then
    local written
    if key and after == "" then written = redis.pcall("DEL", key)
    elseif key then
      written = redis.pcall("HSET", key, "rev", after, "rec", record,
        unpack(ARGV, fields_start, fields_end - 1))
    end
    reply = refusal(written)
    while not reply and i <= ops_end do
      local op, arg1, arg2 = ARGV[i], ARGV[i + 2], ARGV[i + 3]
      key = KEYS[tonumber(ARGV[i + 1])]
      if op == "A" or op == "N" or op == "U" then enqueue(op, key, arg1, arg2)
      elseif op == "R" or op == "D" or op == "P" then enqueue(op, key, arg1)
      elseif op == "F" then
        if redis.call("HEXISTS", key, "rev") == 1 then reply = refusal(redis.pcall("HSET", key, arg1, arg2)) end
      elseif op == "S" then reply = refusal(redis.pcall("SET", key, arg1, "PX", arg2))
      elseif op == "Z" then
        reply = settle(tonumber(ARGV[i + 1]), tonumber(arg1), KEYS[tonumber(arg2)], ARGV[i + 4])
        i = i + 1
      elseif op == "W" then
        if has_children then
          enqueue("A", key, arg1, arg2)
          enqueue("P", ARGV[i + 4], "dependencies")
        end
        i = i + 1
      elseif op == "E" then enqueue(op, key, "t", arg2).most = arg1
      elseif op == "T" then turns[#turns + 1], i = i, i + 3
      elseif op == "H" then
        add(key, arg1, arg2, ARGV[i + 4], ARGV[i + 5], ARGV[i + 6])
        i = i + 3
      else return redis.error_reply("commit.lua: unknown operation " .. tostring(op)) end
      i = i + ((op == "R" or op == "D" or op == "P") and 3 or 4)
    end
  end
  replies[#replies + 1] = reply or "ok"
  i = ops_end + 1
end
flush()
complete()
take_turns(turns)
add_sums()
replies[#replies + 1] = unannounced
return replies
