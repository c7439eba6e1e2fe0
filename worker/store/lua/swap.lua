-- Replace a field of a hash, if it is still what the caller read.
--
-- KEYS: 1 the hash
-- ARGV: 1 field, 2 expected value ("" when absent), 3 next value ("" deletes the field)
-- Returns: 1 when written, 0 when another writer came first
local found = redis.call("HGET", KEYS[1], ARGV[1]) or ""
if found == ARGV[3] then return 1 end
if found ~= ARGV[2] then return 0 end
if ARGV[3] == "" then
  redis.call("HDEL", KEYS[1], ARGV[1])
else
  redis.call("HSET", KEYS[1], ARGV[1], ARGV[3])
end
return 1
