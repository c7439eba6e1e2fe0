-- Write next versions of jobs and move the jobs between sets, each if nobody changed it meanwhile.
--
-- KEYS: every key that the changes name
-- ARGV: for each change the number of its job's hash (0: operations only), expected revision (""
--       when the job must not exist), next revision ("" deletes the job), record, number of
--       further fields, then field, value for each of them, then the number of values that follow,
--       then operations, each a letter, the number of its key and its arguments:
--         C key limit          check, comes first: the sorted set holds fewer than limit members
--         A key score member   add to a sorted set
--         N key score member   add if absent
--         R key member         remove
--         D key field          remove a field of a hash
--         S key value ms       set a string that expires
--         P key message        publish, messages of one channel as one, a space between them
--         E key most event     append to a stream of about so many entries, all events as one entry
--         L key at by act on note jobs  append an act to the record of acts
-- Returns: for each change "ok", "superseded" or "full"; nothing of it is written but with "ok". A
--          repeated call finds its own revision and is "ok". Where a key is not of its type, the
--          error, for the changes alone that name it.
local lists, replies, i = {}, {}, 1

local function gather(op, key, one, two)
  local list = lists[op .. key] or {op = op, key = key, changes = {}}
  lists[op .. key] = list
  list.changes[#list.changes + 1] = #replies + 1
  list[#list + 1], list[#list + 2] = one, two
  return list
end

local function perform()
  for _, list in pairs(lists) do
    local op, key, reply = list.op, list.key
    if op == "A" then reply = redis.pcall("ZADD", key, unpack(list))
    elseif op == "N" then reply = redis.pcall("ZADD", key, "NX", unpack(list))
    elseif op == "R" then reply = redis.pcall("ZREM", key, unpack(list))
    elseif op == "D" then reply = redis.pcall("HDEL", key, unpack(list))
    elseif op == "P" then reply = redis.pcall("PUBLISH", key, table.concat(list, " "))
    else reply = redis.pcall("XADD", key, "MAXLEN", "~", list.most, "*", unpack(list)) end
    local failed = type(reply) == "table" and reply.err
    for _, change in ipairs(failed and list.changes or {}) do replies[change] = failed end
  end
  lists = {}
end

local function refusal(key, expected, after)
  local found = redis.pcall("HGET", key, "rev") or ""
  if type(found) == "table" then return found.err end
  if found == after and found ~= "" then return "ok" end
  if found ~= expected then return "superseded" end
  if ARGV[i] == "C" then perform() end
  while ARGV[i] == "C" do
    key = KEYS[tonumber(ARGV[i + 1])]
    if redis.call("ZCARD", key) >= tonumber(ARGV[i + 2]) then return "full" end
    i = i + 3
  end
end

while i <= #ARGV do
  local key, expected, after = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  local record, first = ARGV[i + 3], i + 5
  local behind = first + 2 * ARGV[i + 4]
  local last = behind + ARGV[behind]
  i = behind + 1
  local reply = key and refusal(key, expected, after)
  if not reply then
    if key and after == "" then redis.call("DEL", key)
    elseif key then
      redis.call("HSET", key, "rev", after, "rec", record, unpack(ARGV, first, behind - 1))
    end
    while i <= last do
      local op, one, two = ARGV[i], ARGV[i + 2], ARGV[i + 3]
      key = KEYS[tonumber(ARGV[i + 1])]
      if op == "A" or op == "N" then gather(op, key, one, two)
      elseif op == "R" or op == "D" or op == "P" then gather(op, key, one)
      elseif op == "S" then redis.call("SET", key, one, "PX", two)
      elseif op == "E" then gather(op, key, "t", two).most = one
      elseif op == "L" then
        local line = redis.pcall("XADD", key, "*", "at", one, "by", two, "act", ARGV[i + 4],
          "on", ARGV[i + 5], "note", ARGV[i + 6], "jobs", ARGV[i + 7])
        reply, i = type(line) == "table" and line.err or nil, i + 4
      else return redis.error_reply("commit.lua: unknown operation " .. tostring(op)) end
      i = i + ((op == "R" or op == "D" or op == "P") and 3 or 4)
    end
  end
  replies[#replies + 1] = reply or "ok"
  i = last + 1
end
perform()
return replies
