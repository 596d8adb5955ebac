//! What a journey sends: values that stand in its file, which nobody else needs to read in a report.

use serde_json::Value;

use super::{Act, Content, Journey, Request, gaps};

/// Fields that say nothing of a user.
const PLAIN: [&str; 7] =
    ["accept", "accept-language", "content-type", "user-agent", "cache-control", "x-requested-with", "origin"];

/// The values of fields, forms, JSON, parts and queries, as they are written. Those with gaps have names in reports.
pub fn sent(journey: &Journey) -> Vec<String> {
    let mut values = Vec::new();
    for step in &journey.steps {
        match &step.act {
            Act::Request(request) | Act::WebSocket(request, _) | Act::EventStream(request, _) => {
                of_request(request, &mut values);
            }
            Act::Talk(..) => {}
        }
    }
    values.retain(|value| !value.is_empty() && gaps(value).next().is_none());
    values
}

fn of_request(request: &Request, values: &mut Vec<String>) {
    let fields = request.fields.iter().filter(|(name, _)| !PLAIN.contains(&name.as_str()));
    values.extend(fields.map(|(_, value)| value.clone()));
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    values.extend(url::form_urlencoded::parse(query.as_bytes()).map(|(_, value)| value.into_owned()));
    match &request.content {
        Content::Form(pairs) => values.extend(pairs.iter().map(|(_, value)| value.clone())),
        Content::Multipart(parts) => values.extend(parts.iter().map(|part| part.content.clone())),
        Content::Json(json) => of_json(json, values),
        Content::None | Content::Text(_) | Content::Bytes(_) => {}
    }
}

fn of_json(json: &Value, values: &mut Vec<String>) {
    match json {
        Value::String(text) => values.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|json| of_json(json, values)),
        Value::Object(map) => map.values().for_each(|json| of_json(json, values)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
