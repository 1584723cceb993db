-- Leases units of one tenant's bucket, for all servers and by the clock of this Redis; one step, and the write sets the expiry.
-- KEYS: the bucket: the microsecond at which it is full again. ARGV: units that come in a second, units that it holds; units
-- that callers wait for, units that are wanted beside them; in microseconds how far ahead of their time units are given out, and
-- how far ahead the bucket can be full at most; what the server has spent by itself, and what it knew of the bucket, both as
-- the time that its units take to come.
-- Answers {units that may be spent now, units that follow as they come, microseconds until the bucket is full}.
local rate, burst, demand, beside = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local horizon, reach, alone, known = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local clock = redis.call('time')
local now = clock[1] * 1000000 + clock[2]
local depth = burst * 1000000 / rate
local kept = redis.pcall('get', KEYS[1])
local full_at = type(kept) == 'string' and tonumber(kept)
-- What is further away was given out by other limits or another clock, or is no bucket of ours: it tells nothing.
if not full_at or not (full_at <= now + reach) then full_at = now + math.min(known, reach)
else full_at = math.min(math.max(full_at, now) + alone, now + reach) end
local granted = math.max(0, math.min(demand + beside, math.floor((now + depth - full_at) * rate / 1000000)))
full_at = full_at + math.ceil(granted * 1000000 / rate)
local promised = 0
if granted < demand then
  local room = math.floor((now + depth + horizon - full_at) * rate / 1000000)
  promised = math.max(0, math.min(demand - granted, room))
  full_at = full_at + math.ceil(promised * 1000000 / rate)
end
local left = full_at - now
redis.call('set', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil(left / 1000) + 1000)
return { granted, promised, math.ceil(left) }
