-- args.items: {id, dependencies, policy, deadline, expires, replaced, name, anew,
--   known = {id = {kind, error}}}
-- ARGV[2…]: their parcels. Returns {answer, cause or false, open, awaited} for each.
local function park(item, parcel)
  local id, task = item.id, key('task', item.id)
  local before = call('HMGET', task, 'state', 'replaced', 'deadline')
  if before[1] then
    -- One that has run may have replaced itself by this one, and an id may be used again. What has
    -- the same deadline is parked once more.
    local follows = before[1] == 'ended' and item.anew and tonumber(before[3]) ~= item.deadline
      or before[1] == 'claimed' and item.replaced > tonumber(before[2] or 0)
    if not follows then return {'duplicate', false, {}, 0} end
  end
  local function let_in(verdict)
    if before[1] == 'ended' then call('DEL', task) end -- Delivered again, it is no copy.
    return verdict
  end
  local open = {}
  for _, name in ipairs(item.dependencies) do
    local ended = item.known[name] or ending(name)
    if ended then
      local cause = blame(name, ended, item.policy)
      if cause then return let_in({'refused', cause, {}, 0}) end
    else
      open[#open + 1] = name
    end
  end
  if #open == 0 then return let_in({'ready', false, {}, 0}) end
  call('DEL', task)
  call('HSET', task, 'state', 'parked', 'replaced', item.replaced, 'home', HOME,
    'policy', item.policy, 'parcel', parcel, 'name', item.name, 'at', NOW, 'deadline', item.deadline, 'dependencies', cjson.encode(item.dependencies))
  local due = item.deadline
  if item.expires ~= cjson.null then
    call('HSET', task, 'expires', item.expires)
    due = math.min(due, item.expires)
  end
  call('SADD', KNOWN, id)
  for _, name in ipairs(open) do
    call('SADD', KNOWN, name)
    call('SADD', key('open', id), name)
    call('SADD', key('waits', name), id)
  end
  call('SET', G .. 'used', NOW, 'EX', args.keep)
  call('ZADD', key('parked', HOME), NOW, id)
  call('ZADD', key('deadlines', HOME), due, id)
  return {'parked', false, open, call('EXISTS', key('waits', id))}
end

local verdicts = {}
for i, item in ipairs(args.items) do verdicts[i] = park(item, ARGV[i + 1]) end
return verdicts
