-- Answers HEAD as GET without the body: the servicers know GET only. Follows errors.lua.

local shape = envoy_on_response

function envoy_on_request(handle)
  handle:headers():replace(":method", "GET")
end

function envoy_on_response(handle)
  shape(handle)
  local body = handle:body(true)
  local length = body:length()
  if length > 0 then
    body:setBytes("")
    handle:headers():replace("content-length", tostring(length))
  end
end
