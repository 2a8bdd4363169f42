-- args.items: {id, publication}. Returns 1 for each that is to run, else 0.
local answers = {}
for i, item in ipairs(args.items) do
  local task = key('task', item[1])
  local got = call('HMGET', task, 'state', 'claimed', 'home')
  if not got[1] then
    answers[i] = 1
  elseif got[1] == 'ready' or got[1] == 'published' then
    call('HSET', task, 'state', 'claimed', 'claimed', item[2])
    call('HDEL', task, 'parcel')
    call('ZREM', key('due', got[3]), item[1])
    call('EXPIRE', task, args.keep)
    answers[i] = 1
  else
    answers[i] = got[2] == item[2] and 1 or 0
  end
end
return answers
