-- KEYS: G, K. ARGV: field, token, ms of the lease, the kinds of writers that bar it ('a' of everything, 't' of these).
-- Answers {every, latest} with the lease, {'taken'} when somebody has it, {} when somebody writes.
known(KEYS[1])
cleared(KEYS[2])
if written(KEYS[1], ARGV[4]) or written(KEYS[2], 'at') then return {} end
local lease = redis.call('hget', KEYS[2], 'l' .. ARGV[1])
local till = lease and tonumber(lease:match(':(%d+)$'))
if till and till > now then return { 'taken' } end
redis.call('hset', KEYS[2], 'l' .. ARGV[1], ARGV[2] .. ':' .. string.format('%.0f', now + ARGV[3]))
lasting(KEYS[2], tonumber(ARGV[3]))
return redis.call('hmget', KEYS[1], 'every', 'latest')
