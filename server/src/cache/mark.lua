-- KEYS: the count of announcements, G, then each K that is written. ARGV: token, ms that the mark lasts at most, kind
-- ('a' everything, 't' these), channel, announcement.
-- From here on nothing of these is kept, until `tell` takes the mark away or it ends. Other servers drop what they have at
-- once: whoever writes may not live to tell.
local mark = ARGV[3] .. string.format('%.0f', now + ARGV[2])
known(KEYS[2])
raised(KEYS[2], ARGV[3] == 'a')
redis.call('hset', KEYS[2], 'w' .. ARGV[1], mark)
for place = 3, #KEYS do
  cleared(KEYS[place])
  emptied(KEYS[place])
  redis.call('hset', KEYS[place], 'w' .. ARGV[1], mark)
  lasting(KEYS[place], tonumber(ARGV[2]))
end
announced(KEYS[1], ARGV[4], ARGV[5])
return 1
