-- A part of commit.lua: take the turns of fair keys, of which `turns` has the places in ARGV.
--
-- A key without waiting jobs leaves the sorted set of turns, and with the last one the empty name
-- leaves it, which has the turn of jobs without a key. A key at its cap has no turn: its score is
-- infinite until the end of a run lowers it (U).
local function size(key) return tonumber(redis.pcall("ZCARD", key)) or 0 end

local function take_turns(turns)
  for _, n in ipairs(turns) do
    local key, name, at, cap = KEYS[tonumber(ARGV[n + 1])], ARGV[n + 4], ARGV[n + 5], tonumber(ARGV[n + 6])
    if name ~= "" and size(KEYS[tonumber(ARGV[n + 2])]) == 0 then
      redis.pcall("ZREM", key, name)
      if size(key) == 1 then redis.pcall("ZREM", key, "") end  -- the turn of jobs without a key
    elseif at ~= "" then
      if cap > 0 and size(KEYS[tonumber(ARGV[n + 3])]) >= cap then at = "+inf" end
      redis.pcall("ZADD", key, "XX", at, name)
    end
  end
end
