-- KEYS: G, K. ARGV: field, token, answer, ms to live, every, latest (or '' when writes of others in the group do not matter).
-- Answers whether the answer was taken: only while the lease stands, which every writer takes away.
local lease = redis.call('type', KEYS[2]).ok == 'hash' and redis.call('hget', KEYS[2], 'l' .. ARGV[1])
if not lease or lease:match('^(.*):%d+$') ~= ARGV[2] then return 0 end
cleared(KEYS[1])
local numbers = redis.call('hmget', KEYS[1], 'every', 'latest')
if numbers[1] ~= ARGV[5] or (ARGV[6] ~= '' and numbers[2] ~= ARGV[6]) then return 0 end
redis.call('hset', KEYS[2], 'v' .. ARGV[1], ARGV[3])
redis.call('hdel', KEYS[2], 'l' .. ARGV[1])
redis.call('pexpire', KEYS[2], ARGV[4])
return 1
