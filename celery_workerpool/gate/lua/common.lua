-- Read in front of every script. All keys are in one hash slot: KEYS[1] has the hash tag.
--
--   task:ID      hash   state, parcel, … of a task that was parked once
--   open:ID      set    what a parked task waits for
--   waits:ID     set    the parked tasks that wait for ID
--   ended:ID     text   how ID ended ("done:", "failed:error"), while it is remembered
--   done:…       set    tasks that have succeeded within some time, while they are remembered
--   books        sorted set of those sets by the time until which they are remembered
--   known        set    tasks that have an entry above and may be heard of again, and some others
--   used         text   there while tasks have been parked lately
--   todo         set    ended tasks some of whose dependents are still to be told
--   parked:HOME, deadlines:HOME, due:HOME    sorted sets of tasks by time
local G = KEYS[1]
local call = redis.call
local args = cjson.decode(ARGV[1])
local NOW, HOME, TOKEN = args.now, args.home, args.token
local out, more = {}, 0

local KNOWN, BOOKS = G .. 'known', G .. 'books'

local function key(kind, id) return G .. kind .. ':' .. id end

local books
local function is_done(id)
  books = books or call('ZREVRANGEBYSCORE', BOOKS, '+inf', NOW)
  for _, book in ipairs(books) do
    if call('SISMEMBER', book, id) == 1 then return true end
  end
  return false
end

-- How a task ended: {kind, error}, or nil. As in results, what has succeeded has not failed.
local function ending(id)
  if is_done(id) then return {'done', ''} end
  local text = call('GET', key('ended', id))
  if not text then text = call('HGET', key('task', id), 'ended') end
  if not text then return nil end
  local colon = string.find(text, ':', 1, true)
  return {string.sub(text, 1, colon - 1), string.sub(text, colon + 1)}
end

-- Why a task with this policy must not run after that ending: {kind, dependency, error}, or nil.
local function blame(id, ended, policy)
  if ended[1] == 'done' or policy == 'run' then return nil end
  return {policy == 'cancel' and 'revoked' or ended[1], id, ended[2]}
end

-- More may be heard of a task that has not ended, or that others wait for.
local function forget(id)
  local state = call('HGET', key('task', id), 'state')
  if state and state ~= 'ended' then return end
  if call('EXISTS', key('waits', id)) == 0 then call('SREM', KNOWN, id) end
end

local function unhook(id, home)
  for _, name in ipairs(call('SMEMBERS', key('open', id))) do
    call('SREM', key('waits', name), id)
    forget(name)
  end
  call('DEL', key('open', id))
  call('ZREM', key('parked', home), id)
  call('ZREM', key('deadlines', home), id)
end

-- Give a task out for publication, or leave it to the next sweep of whoever may publish it.
local function hand_out(id, home)
  local task = key('task', id)
  if home ~= HOME then
    call('ZADD', key('due', home), NOW, id)
  elseif #out >= args.batch then
    call('ZADD', key('due', home), NOW, id)
    more = 1
  else
    call('HSET', task, 'state', 'ready', 'publication', TOKEN)
    call('HINCRBY', task, 'attempts', 1)
    call('ZADD', key('due', home), NOW + args.lease, id)
    local got = call('HMGET', task, 'parcel', 'kind', 'dependency', 'error')
    out[#out + 1] = {id, got[1], got[2], got[3], got[4]}
  end
end

local function release(id, home, cause)
  local task = key('task', id)
  unhook(id, home)
  call('HSET', task, 'state', 'ready')
  if cause then
    call('HSET', task, 'kind', cause[1], 'dependency', cause[2], 'error', cause[3])
  end
  hand_out(id, home)
end

-- Tell who waits for a task that it has ended; false when not all could be told in this call.
local function tell(id, ended)
  local waits = key('waits', id)
  while true do
    if args.budget <= 0 then
      if call('EXISTS', waits) == 1 then
        call('SET', key('ended', id), ended[1] .. ':' .. ended[2], 'EX', args.keep)
        call('SADD', G .. 'todo', id)
        more = 1
        return false
      end
      return true
    end
    local waiting = call('SPOP', waits)
    if not waiting then return true end
    args.budget = args.budget - 1
    local open = key('open', waiting)
    call('SREM', open, id)
    local got = call('HMGET', key('task', waiting), 'home', 'policy')
    if got[1] then
      local cause = blame(id, ended, got[2])
      if cause or call('EXISTS', open) == 0 then release(waiting, got[1], cause) end
    end
  end
end

local function continue_todo()
  for _, id in ipairs(call('SRANDMEMBER', G .. 'todo', 100)) do
    if args.budget <= 0 then break end
    local ended = ending(id)
    if not ended or tell(id, ended) then
      call('SREM', G .. 'todo', id)
      forget(id)
    end
  end
  if call('EXISTS', G .. 'todo') == 1 then more = 1 end
end

-- Publications that are overdue.
local function continue_due()
  local due = call('ZRANGEBYSCORE', key('due', HOME), '-inf', NOW, 'LIMIT', 0, args.batch + 1)
  for _, id in ipairs(due) do
    local state = call('HGET', key('task', id), 'state')
    if state == 'ready' or state == 'published' then
      hand_out(id, HOME)
    else
      call('ZREM', key('due', HOME), id)
    end
  end
end
