-- Add what a process counted to hashes, all of it once: a repeated call changes nothing.
--
-- KEYS: 1 the last flush of the process, 2.. the hashes
-- ARGV: 1 the id of the flush, 2 milliseconds to remember it; 3.. for each hash the seconds to keep
--       it (0: for ever), the number of fields, and for each of them the field and its amount
-- Returns: 1 if it was added, 0 if it had been before
if redis.call("GET", KEYS[1]) == ARGV[1] then return 0 end
for number = 2, #KEYS do redis.call("HLEN", KEYS[number]) end  -- before anything is written
local i = 3
for number = 2, #KEYS do
  local keep_s, fields_end = tonumber(ARGV[i]), i + 1 + 2 * ARGV[i + 1]
  for at = i + 2, fields_end, 2 do
    redis.pcall("HINCRBYFLOAT", KEYS[number], ARGV[at], ARGV[at + 1])
  end
  if keep_s > 0 then redis.call("EXPIRE", KEYS[number], keep_s) end
  i = fields_end + 1
end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return 1
