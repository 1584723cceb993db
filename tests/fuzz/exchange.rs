//! One call below gRPC: headers and a body as they are, and the answer as it came.
//! Leaves what is sent to `cases` and what may come back to `oracle`.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use prost::bytes::Bytes;
use stead_client::RawChannel;
use tonic::{
    body::Body,
    codegen::{
        Service,
        http::{HeaderMap, Request},
    },
};

/// Nothing that is asked here takes so long, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// What came behind the body; empty when a refusal came with the headers.
    pub(super) trailers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Posts a body to a path; the words of a connection that broke are the error.
pub(super) async fn exchange(
    channel: &mut RawChannel,
    path: &str,
    headers: &HeaderMap,
    body: Vec<u8>,
) -> Result<Answer, String> {
    let mut request = Request::post(path).body(Body::new(Full::new(Bytes::from(body)))).map_err(|e| e.to_string())?;
    *request.headers_mut() = headers.clone();
    let asked = async {
        std::future::poll_fn(|context| Service::poll_ready(channel, context)).await.map_err(|error| chain(&error))?;
        let response = channel.call(request).await.map_err(|error| chain(&error))?;
        let (parts, mut body) = response.into_parts();
        let mut answer = Answer { status: parts.status.as_u16(), headers: parts.headers, ..Answer::default() };
        while let Some(frame) = body.frame().await {
            match frame.map_err(|error| chain(&error))?.into_data() {
                Ok(data) => answer.body.extend_from_slice(&data),
                Err(frame) => answer.trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        Ok(answer)
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("no answer came".to_owned()))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        words = format!("{words}: {error}");
        next = error.source();
    }
    words
}

/// A message as gRPC frames it.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}
