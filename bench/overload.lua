-- Users for wrk: each thinks for an exponential time, asks the next query by HTTP, waits for the answer.
-- bench/overload.py runs it, with OVERLOAD_BODIES (a JSON body a line) and OVERLOAD_THINK_MS (on average) set.
local bodies, turn, threads = {}, 0, {}
local think_ms = tonumber(os.getenv("OVERLOAD_THINK_MS"))
local headers = { ["Content-Type"] = "application/json" }
local path = "/v2/models/search/infer"
accepted, rejected, other = 0, 0, 0

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  math.randomseed(42)
  for line in io.lines(os.getenv("OVERLOAD_BODIES")) do
    bodies[#bodies + 1] = line
  end
end

function delay()
  return math.floor(-math.log(1 - math.random()) * think_ms)
end

function request()
  turn = turn % #bodies + 1
  return wrk.format("POST", path, headers, bodies[turn])
end

function response(status)
  if status == 200 then
    accepted = accepted + 1
  elseif status == 503 then
    rejected = rejected + 1
  else
    other = other + 1
  end
end

function done(summary)
  local count = { accepted = 0, rejected = 0, other = 0 }
  for _, thread in ipairs(threads) do
    for name in pairs(count) do
      count[name] = count[name] + thread:get(name)
    end
  end
  local errors = summary.errors
  io.write(string.format(
    '\n{"seconds": %.3f, "accepted": %d, "rejected": %d, "other": %d, "broken": %d}\n',
    summary.duration / 1e6, count.accepted, count.rejected, count.other,
    errors.connect + errors.read + errors.write + errors.timeout))
end
