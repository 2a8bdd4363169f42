-- Puts unacknowledged messages back, those that are still unacknowledged.
--
-- KEYS: hash and index of what is unacknowledged.
-- ARGV: tag, list and text of a message; and so on. A message may go to several lists; one that is
--       to be dropped has none.
-- Gives: how many messages there were.

local mine, count = {}, 0
for place = 1, #ARGV, 3 do
  local tag, list, text = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  if mine[tag] == nil then
    mine[tag] = redis.call('HDEL', KEYS[1], tag) == 1
    redis.call('ZREM', KEYS[2], tag)
    if mine[tag] and list ~= '' then count = count + 1 end
  end
  if mine[tag] and list ~= '' then redis.call('RPUSH', list, text) end
end
return count
