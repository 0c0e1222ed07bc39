//! Reads what the broker writes, at the moment it writes it, before any of it can be lost.

use super::consumer::CHANNEL;
use super::history::{Delivered, Event, History};
use super::network::Tap;
use super::scene::{PLACES, PlaceId, id_of};
use bytes::BytesMut;
use posthaste_protocol::frame::{CutOf, CutPreface, cut_preface};
use posthaste_protocol::{Response, destination_seed};
use std::collections::BTreeMap;

/// What was written on each wire and is not a whole frame yet.
#[derive(Default)]
pub(super) struct Observer {
    wires: BTreeMap<u32, (bool, BytesMut)>,
}

impl Observer {
    /// Takes note of the deliveries since the last look.
    pub(super) fn look(&mut self, tap: &Tap, history: &mut History) {
        for (wire, at_ms, bytes) in tap.take() {
            if bytes.is_empty() {
                let to = (wire, CHANNEL);
                history.note(Event::LetGo { to });
                continue;
            }
            let (has_preface, buffer) = self.wires.entry(wire).or_default();
            buffer.extend_from_slice(&bytes);
            if !*has_preface {
                *has_preface = matches!(cut_preface(buffer), Ok(CutPreface::Major(_)));
            }
            while *has_preface
                && let Ok(CutOf::Frame { header, said }) = Response::cut(buffer, 16 << 20)
            {
                if let Ok(Response::Deliver(deliver)) = said {
                    let to = (wire, header.channel);
                    let Some(place) = history.places.get(&to).copied() else {
                        history
                            .broken("phantom", format!("a delivery to {to:?}, which did not ask"));
                        continue;
                    };
                    note(&deliver, place, to, at_ms, history);
                }
            }
        }
    }
}

fn note(
    deliver: &posthaste_protocol::response::Deliver,
    place: PlaceId,
    to: (u32, u16),
    at_ms: u64,
    history: &mut History,
) {
    let seed = destination_seed(&PLACES[place].name());
    for piece in &deliver.pieces {
        for record in piece.records(seed) {
            let read =
                record.ok().and_then(|(offset, record)| Some((offset, id_of(&record.value)?)));
            let Some((offset, id)) = read else {
                history.broken("phantom", "a delivery is not what was published".into());
                continue;
            };
            let seen = Delivered {
                place,
                to,
                id,
                offset,
                epoch: deliver.epoch,
                attempt: piece.attempt,
                redelivered: piece.redelivered,
                until_ms: at_ms + u64::from(deliver.lease_ms),
            };
            history.note(Event::Delivered { at_ms, seen });
        }
    }
}
