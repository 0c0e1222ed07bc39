//! Names as the application gave them, checked once, and the plain requests about them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::{Request, Response};

use crate::client::Client;
use crate::core::{Lane, LaneLimits};
use crate::error::{Failed, Failure};
use crate::info::{Description, GroupInfo};

/// The name of a queue or topic at one client. A wrong name is kept, and told by the first use.
#[derive(Clone)]
pub(crate) struct Place {
    client: Client,
    given: Arc<str>,
    checked: Result<Name, Failed>,
    /// What single publishes go through; looked up by the first.
    lane: Arc<OnceLock<Arc<Lane>>>,
}

impl Place {
    pub(crate) fn new(client: Client, given: &str) -> Self {
        let checked = Name::try_from(given).map_err(|_refused| invalid_name(given));
        Self { client, given: given.into(), checked, lane: Arc::default() }
    }

    /// The lane of single publishes.
    pub(crate) fn shared_lane(&self) -> Result<&Arc<Lane>, Failed> {
        let name = self.checked()?;
        Ok(self.lane.get_or_init(|| self.client.core().shared_lane(name)))
    }

    /// A new lane for a producer.
    pub(crate) fn own_lane(&self, limits: LaneLimits) -> Result<Arc<Lane>, Failed> {
        let name = self.checked()?;
        Ok(self.client.core().own_lane(name, limits))
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn name(&self) -> &str {
        &self.given
    }

    /// The name, if it is one.
    pub(crate) fn checked(&self) -> Result<&Name, Failed> {
        self.checked.as_ref().map_err(Arc::clone)
    }

    pub(crate) async fn call(&self, request: Request) -> Result<Response, Failed> {
        self.client.core().call(request).await
    }

    pub(crate) async fn describe(&self) -> Result<Description, Failed> {
        let name = self.checked()?.clone();
        match self.call(Request::Describe { name }).await? {
            Response::Described(description) => Ok(description.into()),
            other => Err(unexpected("describe", &other)),
        }
    }

    pub(crate) async fn delete(&self, group: Option<&GroupPlace>) -> Result<(), Failed> {
        let name = self.checked()?.clone();
        let group = group.map(GroupPlace::checked).transpose()?.cloned();
        match self.call(Request::Delete { name, group }).await? {
            Response::Deleted => Ok(()),
            other => Err(unexpected("delete", &other)),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

/// The name of a group of a topic.
#[derive(Clone, Debug)]
pub(crate) struct GroupPlace {
    topic: Place,
    given: Arc<str>,
    checked: Result<GroupName, Failed>,
}

impl GroupPlace {
    pub(crate) fn new(topic: Place, given: &str) -> Self {
        let checked = GroupName::try_from(given).map_err(|_refused| invalid_name(given));
        Self { topic, given: given.into(), checked }
    }

    pub(crate) fn topic(&self) -> &Place {
        &self.topic
    }

    pub(crate) fn group(&self) -> &str {
        &self.given
    }

    pub(crate) fn checked(&self) -> Result<&GroupName, Failed> {
        self.checked.as_ref().map_err(Arc::clone)
    }

    /// The group's counts, out of its topic's description.
    pub(crate) async fn info(&self) -> Result<GroupInfo, Failed> {
        self.checked()?;
        let groups = self.topic.describe().await?.groups;
        let mine = groups.into_iter().find(|one| one.name.as_deref() == Some(&*self.given));
        mine.ok_or_else(|| {
            let text = format!("topic {:?} has no group {:?}", self.topic.name(), self.given);
            Failure::coded(ErrorCode::NotFound, text)
        })
    }
}

fn invalid_name(given: &str) -> Failed {
    Failure::coded(ErrorCode::InvalidName, format!("{given:?} is not a name"))
}

/// An answer of another kind than the question's.
pub(crate) fn unexpected(question: &str, answer: &Response) -> Failed {
    let mut shown = format!("{answer:?}");
    let end = shown.char_indices().nth(80).map_or(shown.len(), |(at, _)| at);
    shown.truncate(end);
    Failure::coded(ErrorCode::ProtocolError, format!("the broker answered {question} with {shown}"))
}
