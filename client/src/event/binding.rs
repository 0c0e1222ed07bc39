//! CloudEvents 1.0 in binary mode: attributes as headers, data as the body. Pure.
//!
//! ```text
//! id            the message's id; header ce-id where the publish gave the message another one
//! partitionkey  the message's key
//! datacontenttype  content-type
//! everything else  ce-<name>, UTF-8 as it is
//! ```

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;

use super::{Body, Event, Reference, time};
use crate::codec::CodecError;
use crate::envelope::Envelope;
use crate::options::{time_of, unix_ms};
use crate::publish::Properties;
use crate::trace_context::{hex, unhex};

pub(super) const JSON: &str = "application/json";
const VERSION: &str = "1.0";
const PREFIX: &str = "ce-";
const CONTENT_TYPE: &str = "content-type";
const STRUCTURED: &str = "application/cloudevents";
const KEY: &str = "partitionkey";
const EXPIRY: &str = "expirytime";
const DATAREF: [&str; 3] = ["dataref", "datarefsize", "datarefsha256"];
/// Names that are no extension's.
const CORE: [&str; 9] = [
    "data",
    "datacontenttype",
    "dataschema",
    "id",
    "source",
    "specversion",
    "subject",
    "time",
    "type",
];

/// Adds the attributes to what the publish gave.
pub(super) fn write<T>(
    event: &Event<T>,
    default_type: Option<&str>,
    default_source: &str,
    properties: &mut Properties,
) -> Result<(), CodecError> {
    if let Some((name, _)) = properties.headers.iter().find(|(name, _)| is_ours(name)) {
        return Err(format!("the header {name} is the event's to give").into());
    }
    let source = if event.source.is_empty() { default_source } else { &event.source };
    let mut out = Writer { properties, extensions: &event.extensions };
    out.id(&event.id)?;
    out.attribute("specversion", VERSION)?;
    out.attribute("type", &event.kind)?;
    out.attribute("source", source)?;
    out.optional("subject", event.subject.as_deref())?;
    if let Some(at) = event.time {
        let text = time::format(at).ok_or("the event's time is outside of the years 0 to 9999")?;
        out.attribute("time", &text)?;
    }
    out.optional("dataschema", event.data_schema.as_deref())?;
    let content_type = event.content_type.as_deref();
    match &event.body {
        Body::Full(_) => {
            let content_type = content_type.or(default_type);
            let content_type = content_type.ok_or("an event with raw data needs a content type")?;
            out.header(CONTENT_TYPE, content_type)?;
        }
        Body::Reference(reference) => out.reference(reference, content_type)?,
        Body::Notice => {}
    }
    out.extensions()
}

fn is_ours(header: &str) -> bool {
    header.starts_with(PREFIX) || header == CONTENT_TYPE
}

struct Writer<'a> {
    properties: &'a mut Properties,
    extensions: &'a BTreeMap<String, String>,
}

impl Writer<'_> {
    fn id(&mut self, id: &str) -> Result<(), CodecError> {
        match &self.properties.id {
            Some(given) if given != id => self.attribute("id", id),
            Some(_) => Ok(()),
            None => {
                check("id", id)?;
                self.properties.id = Some(id.to_owned());
                Ok(())
            }
        }
    }

    fn attribute(&mut self, name: &str, value: &str) -> Result<(), CodecError> {
        self.header(&format!("{PREFIX}{name}"), value)
    }

    fn optional(&mut self, name: &str, value: Option<&str>) -> Result<(), CodecError> {
        value.map_or(Ok(()), |value| self.attribute(name, value))
    }

    fn header(&mut self, name: &str, value: &str) -> Result<(), CodecError> {
        check(name.strip_prefix(PREFIX).unwrap_or(name), value)?;
        self.properties.headers.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn reference(
        &mut self,
        reference: &Reference,
        content_type: Option<&str>,
    ) -> Result<(), CodecError> {
        if let Some(name) = DATAREF.iter().find(|name| self.extensions.contains_key(**name)) {
            return Err(format!("{name} is the reference's to give").into());
        }
        let media_type = reference.media_type.as_deref().or(content_type);
        media_type.map_or(Ok(()), |media_type| self.header(CONTENT_TYPE, media_type))?;
        let [url, size, digest] = DATAREF;
        self.attribute(url, &reference.url)?;
        self.optional(size, reference.size.map(|size| size.to_string()).as_deref())?;
        self.optional(digest, reference.sha256.map(|digest| hex(&digest)).as_deref())
    }

    fn extensions(&mut self) -> Result<(), CodecError> {
        for (name, value) in self.extensions {
            let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            if !is_name || name.is_empty() || CORE.contains(&&**name) {
                return Err(format!("{name:?} is not the name of an extension").into());
            }
            if name != KEY {
                self.attribute(name, value)?;
            } else if self.properties.key.is_none() {
                self.properties.key = Some(value.clone());
            }
        }
        self.expiry()
    }

    /// The message's time to live is the event's, whichever of them was given.
    fn expiry(&mut self) -> Result<(), CodecError> {
        match (self.extensions.get(EXPIRY), self.properties.expires_ms) {
            (Some(text), None) => {
                let at = time::parse(text).ok_or("expirytime is not a time")?;
                self.properties.expires_ms = Some(unix_ms(at));
                Ok(())
            }
            (None, Some(ms)) => self.optional(EXPIRY, time::format(time_of(ms)).as_deref()),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }
}

/// Texts of attributes are not empty and hold no control characters.
fn check(name: &str, value: &str) -> Result<(), CodecError> {
    if value.is_empty() {
        return Err(format!("an event needs its {name}").into());
    }
    if value.chars().any(char::is_control) {
        return Err(format!("{name} of an event must not hold control characters").into());
    }
    Ok(())
}

/// The event of a message; `decode` reads its data, of that content type.
pub(super) fn read<T>(
    envelope: &Envelope,
    decode: impl FnOnce(Option<&str>, &Bytes) -> Result<T, CodecError>,
) -> Result<Event<T>, CodecError> {
    let mut attributes = BTreeMap::new();
    let mut content_type = None;
    for (name, value) in envelope.headers() {
        if let Some(name) = name.strip_prefix(PREFIX) {
            attributes.entry(name).or_insert(value);
        } else if name == CONTENT_TYPE {
            content_type = content_type.or(Some(value));
        }
    }
    if content_type.is_some_and(|content_type| content_type.starts_with(STRUCTURED)) {
        return Err("a CloudEvent in structured mode: only binary mode is read".into());
    }
    match attributes.remove("specversion") {
        None => return Err("not a CloudEvent: it has no header ce-specversion".into()),
        Some(VERSION) => {}
        Some(other) => return Err(format!("a CloudEvent of version {other}, not 1.0").into()),
    }
    let needed = |value: Option<&str>, name: &str| {
        let value = value.filter(|value| !value.is_empty());
        value.map(str::to_owned).ok_or_else(|| format!("a CloudEvent without {name}"))
    };
    let id = needed(attributes.remove("id").or_else(|| envelope.id()), "id")?;
    let kind = needed(attributes.remove("type"), "type")?;
    let source = needed(attributes.remove("source"), "source")?;
    let subject = attributes.remove("subject").map(str::to_owned);
    let time = attributes.remove("time").map(parse_time).transpose()?;
    let data_schema = attributes.remove("dataschema").map(str::to_owned);
    let data = envelope.value();
    let body = if data.is_empty() && attributes.contains_key(DATAREF[0]) {
        Body::Reference(read_reference(&mut attributes, content_type)?)
    } else if data.is_empty() && content_type.is_none() {
        Body::Notice
    } else {
        Body::Full(decode(content_type, data)?)
    };
    let mut extensions: BTreeMap<_, _> =
        attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if let Some(key) = envelope.key() {
        extensions.insert(KEY.to_owned(), key.to_owned());
    }
    let content_type = content_type.map(str::to_owned);
    Ok(Event { id, kind, source, subject, time, content_type, data_schema, extensions, body })
}

fn parse_time(text: &str) -> Result<SystemTime, CodecError> {
    time::parse(text).ok_or_else(|| format!("its time {text:?} is not a time").into())
}

fn read_reference(
    attributes: &mut BTreeMap<&str, &str>,
    media_type: Option<&str>,
) -> Result<Reference, CodecError> {
    let [url, size, digest] = DATAREF;
    let url = attributes.remove(url).unwrap_or_default().to_owned();
    let size = attributes.remove(size).map(str::parse).transpose();
    let size = size.map_err(|error| format!("its datarefsize is not a number: {error}"))?;
    let sha256 = match attributes.remove(digest) {
        None => None,
        Some(digits) => {
            let digest = unhex(&digits.to_ascii_lowercase());
            Some(digest.ok_or_else(|| format!("its datarefsha256 {digits:?} is not a digest"))?)
        }
    };
    Ok(Reference { url, media_type: media_type.map(str::to_owned), size, sha256 })
}

/// Data without a content type counts as JSON, as the standard has it for JSON.
pub(super) fn must_be_json(content_type: Option<&str>) -> Result<(), CodecError> {
    let Some(content_type) = content_type else { return Ok(()) };
    let plain = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if plain == JSON || plain == "text/json" || plain.ends_with("+json") {
        return Ok(());
    }
    Err(format!("its data is {content_type}, and the contract's type is read from JSON").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_by_several_names() {
        for good in ["application/json", "Application/JSON; charset=utf-8", "text/json", "a/b+json"]
        {
            assert!(must_be_json(Some(good)).is_ok(), "{good}");
        }
        assert!(must_be_json(None).is_ok());
        for bad in ["text/plain", "application/xml", "application/jsonx", ""] {
            assert!(must_be_json(Some(bad)).is_err(), "{bad}");
        }
    }
}
