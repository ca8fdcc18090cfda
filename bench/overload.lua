-- Queries for wrk, by HTTP. With a rate they come by Poisson whether others were answered or not, as long as a connection
-- is free: whichever becomes free waits for the next moment. Without, each connection asks again as soon as it is answered.
-- bench/overload.py runs it, with OVERLOAD_BODIES (a JSON body a line) and OVERLOAD_RATE (a second, or 0) set.
local ffi = require("ffi")
ffi.cdef("struct moment { long s, ns; }; int clock_gettime(int clock, struct moment *now);")
local moment = ffi.new("struct moment")
local bodies, turn, threads = {}, 0, {}
local rate = tonumber(os.getenv("OVERLOAD_RATE"))
local next_ms
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
  if rate == 0 then
    return 0
  end
  ffi.C.clock_gettime(1, moment) -- 1 is CLOCK_MONOTONIC
  local now_ms = 1e3 * tonumber(moment.s) + 1e-6 * tonumber(moment.ns)
  next_ms = (next_ms or now_ms) - 1e3 * math.log(1 - math.random()) / rate
  return math.max(0, math.floor(next_ms - now_ms))
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
