-- KEYS: the count of announcements, G, then each K that was written. ARGV: token, kind, channel, announcement.
-- Takes away the mark and whatever was kept in spite of it, and announces the write to every server.
known(KEYS[2])
raised(KEYS[2], ARGV[2] == 'a')
redis.call('hdel', KEYS[2], 'w' .. ARGV[1])
for place = 3, #KEYS do
  cleared(KEYS[place])
  emptied(KEYS[place])
  redis.call('hdel', KEYS[place], 'w' .. ARGV[1])
end
announced(KEYS[1], ARGV[3], ARGV[4])
return 1
