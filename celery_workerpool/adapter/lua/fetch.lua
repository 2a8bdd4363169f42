-- Acknowledges messages; then takes messages from queues and notes them as unacknowledged, in one
-- step.
--
-- KEYS: lists of messages, one for each queue in the first priority, then in the second, ...
-- ARGV: hash and index of what is unacknowledged, the time, how many messages at most, after how
--       many bytes no more, the beginning of their tags, whether a queue that gave a message goes
--       behind the others, how many queues, a JSON string of each queue's name; then the tags of
--       messages that are acknowledged.
-- Gives: 1 if nothing is left, else 0; then for each message the number of its queue, and its text.
--
-- Once a message is popped nothing may fail before it is noted. So the notes are written to first,
-- be it in vain, and errors of later pops end the popping only. A server that is out of memory
-- allows a script what it allows no command, when that has taken something away.

local hash, index, now, most, bytes, tag = unpack(ARGV, 1, 6)
local turns, count = ARGV[7] == '1', tonumber(ARGV[8])
most, bytes = tonumber(most), tonumber(bytes)

redis.call('ZREM', index, '', unpack(ARGV, 9 + count))
redis.call('HDEL', hash, '', unpack(ARGV, 9 + count))

local order, failure = {}, nil
for number = 1, count do order[number] = number end

local function pop(priority)
  for place = 1, count do
    local number = order[place]
    local text = redis.pcall('RPOP', KEYS[priority * count + number])
    if type(text) == 'table' then
      failure = text
    elseif text then
      if turns then table.insert(order, table.remove(order, place)) end
      return number, text
    end
  end
end

local given, scores, entries, priority = {0}, {}, {}, 0
while #scores < 2 * most and bytes > 0 and priority * count < #KEYS do
  local number, text = pop(priority)
  if number then
    local name = tag .. string.format('%02d', #scores / 2)
    given[#given + 1], given[#given + 2] = number, text
    scores[#scores + 1], scores[#scores + 2] = now, name
    entries[#entries + 1], entries[#entries + 2] = name, '[' .. text .. ',"",' .. ARGV[8 + number] .. ']'
    bytes = bytes - #text
  else
    priority = priority + 1
  end
end
if #scores > 0 then
  redis.call('ZADD', index, unpack(scores))
  redis.call('HSET', hash, unpack(entries))
elseif failure then
  return failure
end
if priority * count == #KEYS then
  redis.pcall('EXISTS', unpack(KEYS)) -- Who reads is told when they change.
  given[1] = 1
end
return given
