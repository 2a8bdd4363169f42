-- Notes that a worker lives and has some messages, and tells of a worker that does not live.
--
-- KEYS: sorted set of workers by the time, in seconds of the server's clock, at which they are taken
--       for dead; index of what is unacknowledged.
-- ARGV: this worker, the seconds for which it is not, and the time by its own clock; then the tags
--       of what it has.
-- Gives: how many workers there are, and one that is dead, if any is.

local workers, me, after = KEYS[1], ARGV[1], tonumber(ARGV[2])
local now = tonumber(redis.call('TIME')[1])
local mine = tonumber(redis.call('ZSCORE', workers, me) or now)
redis.call('ZREM', workers, me) -- It lets a server that is out of memory allow the rest.
redis.call('ZADD', workers, now + after, me)
for place = 4, #ARGV do redis.call('ZADD', KEYS[2], 'XX', ARGV[3], ARGV[place]) end

local dead = redis.call('ZRANGEBYSCORE', workers, '-inf', '(' .. now)
if #dead > 0 then
  -- Where signs could not be given for long, nobody is judged by them.
  local info = redis.pcall('INFO', 'server')
  local up = type(info) == 'string' and tonumber(string.match(info, 'uptime_in_seconds:(%d+)'))
  if mine < now or (up and up < after) then
    for _, name in ipairs(dead) do redis.call('ZADD', workers, now + after, name) end
    dead = {}
  end
end
return {redis.call('ZCARD', workers), dead[1]}
