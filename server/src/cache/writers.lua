-- Shared by the scripts: what stands under a key, and whether somebody is writing it.
--
-- G is the hash of a group, a tenant's resources of one kind: `every` and `latest` number its states, `w…` are the writers.
-- K is the hash of one resource or one page: `v…` are answers, `l…` leases to fill one in, `w…` the writers.
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local day = 24 * 3600 * 1000

-- Whatever else stands under a name of ours makes room.
local function cleared(key)
  local kind = redis.call('type', key).ok
  if kind ~= 'hash' and kind ~= 'none' then redis.call('del', key) end
end

-- A group that is not known, or whose numbers are none, gets numbers that it never had.
local function known(group)
  cleared(group)
  local seed = string.format('%.0f', time[1] * 1000000 + time[2])
  for _, field in ipairs({ 'every', 'latest' }) do
    local number = redis.call('hget', group, field)
    if not number or not number:match('^%d+$') then redis.call('hset', group, field, seed) end
  end
  redis.call('pexpire', group, day)
end

local function raised(group, all)
  for _, field in ipairs(all and { 'every', 'latest' } or { 'latest' }) do
    if type(redis.pcall('hincrby', group, field, 1)) ~= 'number' then
      redis.call('hset', group, field, string.format('%.0f', time[1] * 1000000 + time[2]))
    end
  end
end

-- Whether somebody writes. A mark ends by itself, so that a writer that died bars nobody for ever.
local function written(key, kinds)
  local is_written = false
  for _, field in ipairs(redis.call('hkeys', key)) do
    if field:sub(1, 1) == 'w' then
      local kind, till = redis.call('hget', key, field):match('^(%a)(%d+)$')
      if not till or tonumber(till) <= now then redis.call('hdel', key, field)
      elseif kinds:find(kind, 1, true) then is_written = true end
    end
  end
  return is_written
end

-- Takes away what was kept, and the leases of those who have yet to fill it in.
local function emptied(key)
  for _, field in ipairs(redis.call('hkeys', key)) do
    if field:sub(1, 1) ~= 'w' then redis.call('hdel', key, field) end
  end
end

-- Says to every server that somebody begins or ends a write.
local function announced(count, channel, words)
  local number = redis.pcall('incr', count)
  if type(number) ~= 'number' then
    number = now
    redis.call('set', count, string.format('%.0f', number))
  end
  redis.call('pexpire', count, day)
  redis.call('publish', channel, string.format('%.0f', number) .. ' ' .. words)
end

local function lasting(key, ms)
  if redis.call('pttl', key) < ms then redis.call('pexpire', key, ms) end
end
