//! What all clones of a client share, and the task that owns the connection.

use std::sync::Arc;

use posthaste_protocol::{Request, Response};

use crate::client::ClientBuilder;
use crate::error::{Failed, Failure, Local};
use crate::info::BrokerInfo;
use crate::options::ConnState;

/// The shared state of one client.
#[derive(Debug)]
pub(crate) struct Core {
    options: ClientBuilder,
}

impl Core {
    pub(crate) fn start(options: ClientBuilder) -> Result<Arc<Self>, Failed> {
        Ok(Arc::new(Self { options }))
    }

    pub(crate) async fn first_connection(&self) -> Result<(), Failed> {
        self.ready().await
    }

    pub(crate) fn state(&self) -> ConnState {
        ConnState::Closed
    }

    pub(crate) async fn ready(&self) -> Result<(), Failed> {
        tokio::task::yield_now().await;
        Err(Failure::local(
            Local::Refused,
            format!("cannot reach {}", self.options.url),
        ))
    }

    pub(crate) async fn close(&self) -> Result<(), Failed> {
        tokio::task::yield_now().await;
        Ok(())
    }

    pub(crate) async fn broker(&self) -> Result<BrokerInfo, Failed> {
        self.ready().await?;
        Err(Failure::local(Local::Closed, "the client is closed"))
    }

    pub(crate) async fn call(&self, _request: Request) -> Result<Response, Failed> {
        self.ready().await?;
        Err(Failure::local(Local::Closed, "the client is closed"))
    }
}
