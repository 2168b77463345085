//! What a database tells those who listen

use std::future::poll_fn;

use testkit::Database;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// A client that listens to a channel of a database, and the payloads that it hears
pub(crate) async fn listen(
    database: &Database,
    channel: &str,
) -> (Client, UnboundedReceiver<String>) {
    let (client, mut connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
    let (heard, notified) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                heard.send(notification.payload().to_owned()).unwrap();
            }
        }
    });
    client.batch_execute(&format!("LISTEN {channel}")).await.unwrap();
    (client, notified)
}
