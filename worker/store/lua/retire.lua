-- Remove a name from a register, if none of its keys exists.
--
-- KEYS: 1 the register, a sorted set of names; 2.. the keys that must not exist
-- ARGV: 1 the name
-- Returns: 1 when removed, 0 when one of the keys exists
for n = 2, #KEYS do
  if redis.call("EXISTS", KEYS[n]) == 1 then return 0 end
end
redis.call("ZREM", KEYS[1], ARGV[1])
return 1
