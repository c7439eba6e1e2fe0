-- Remove a name from a register, if none of its keys exists.
--
-- KEYS: 1 the register, a sorted set of names; 2.. the keys that must not exist, then those that are
--       deleted with the name
-- ARGV: 1 the name, 2 how many keys are deleted
-- Returns: 1 when removed, 0 when one of the keys exists
local last = #KEYS - tonumber(ARGV[2])
for n = 2, last do
  if redis.call("EXISTS", KEYS[n]) == 1 then return 0 end
end
redis.call("ZREM", KEYS[1], ARGV[1])
for n = last + 1, #KEYS do redis.call("DEL", KEYS[n]) end
return 1
