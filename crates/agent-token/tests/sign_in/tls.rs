use agent_token::{Cloud, Machine, RetryTimeout};
use testkit::net::TlsFront;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::{TOKEN, World, complaint};

/// The machine of `world`, whose control plane is `secure`, with or without its authority
fn machine(world: &World, secure: &TlsFront, trusting: bool) -> Machine {
    let url = format!("https://localhost:{}", secure.address.port());
    let ca_file = trusting.then_some(&*secure.ca_file);
    let machine = world.machine_at(&url).in_environment(|_| None, ca_file).unwrap();
    let metadata = world.machine_of_any_cloud().metadata;
    Machine { metadata, cloud: Some(Cloud::Azure), retry_timeout: RetryTimeout::Once, ..machine }
}

#[tokio::test]
async fn the_authority_of_the_site_is_trusted_beside_those_of_the_system() {
    let world = World::of(Cloud::Azure);
    let secure = TlsFront::start("localhost", world.control_plane.address()).await;
    let token = machine(&world, &secure, true).sign_in().await.unwrap();
    assert_eq!(token.reveal(), TOKEN);
}

#[tokio::test]
async fn a_refused_certificate_is_reported_and_only_its_dates_are_retried() {
    let world = World::of(Cloud::Azure);
    let upstream = world.control_plane.address();
    let good = TlsFront::start("localhost", upstream).await;
    let stranger = machine(&world, &good, false);
    // Permanent: the sign-in would otherwise never end.
    let said = complaint(&Machine { retry_timeout: RetryTimeout::Unlimited, ..stranger }).await;
    assert!(said.contains("UnknownIssuer") && said.contains("CA file"), "{said}");

    let other = TlsFront::start("elsewhere.example.com", upstream).await;
    let other = machine(&world, &other, true);
    let said = complaint(&Machine { retry_timeout: RetryTimeout::Unlimited, ..other }).await;
    assert!(said.contains("not valid for name \"localhost\""), "{said}");

    for (from, until) in [(-9, -1), (1, 9)] {
        let ended = TlsFront::valid("localhost", upstream, from, until).await;
        let ended = machine(&world, &ended, true);
        let retry_timeout = RetryTimeout::For(std::time::Duration::from_millis(10));
        let said = complaint(&Machine { retry_timeout, ..ended }).await;
        assert!(said.contains("is the clock of this machine right?"), "{said}");
        assert!(said.contains("gave up"), "{said}");
    }
}

#[tokio::test]
async fn a_self_signed_authority_is_accepted_as_the_server_that_it_names() {
    let world = World::of(Cloud::Azure);
    let upstream = world.control_plane.address();
    let own = TlsFront::authority("localhost", upstream, -1, 1).await;
    assert_eq!(machine(&world, &own, true).sign_in().await.unwrap().reveal(), TOKEN);

    // The name, the dates and the trust are required as of any server.
    let other = TlsFront::authority("elsewhere.example.com", upstream, -1, 1).await;
    let ended = TlsFront::authority("localhost", upstream, -9, -1).await;
    for (front, trusting, part) in [
        (&other, true, "not valid for name \"localhost\""),
        (&ended, true, "is the clock of this machine right?"),
        (&own, false, "a self-signed one has to be in a CA file"),
    ] {
        let said = complaint(&machine(&world, front, trusting)).await;
        assert!(said.contains(part), "{part}: {said}");
    }
    // A certificate in the file is trusted, and not all with its name.
    let twin = TlsFront::authority("localhost", upstream, -1, 1).await;
    let url = format!("https://localhost:{}", twin.address.port());
    let stranger = world.machine_at(&url).in_environment(|_| None, Some(&own.ca_file)).unwrap();
    let metadata = world.machine_of_any_cloud().metadata;
    let stranger = Machine { metadata, cloud: Some(Cloud::Azure), ..stranger };
    assert!(complaint(&stranger).await.contains("its certificate is not accepted"));
}

#[tokio::test]
async fn https_to_a_port_that_speaks_http_is_reported() {
    let world = World::of(Cloud::Azure);
    // A web server's answer to bytes that are not a request.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    let machine = world.machine_at(&format!("https://{plain}"));
    // TLS needs at least one authority, and any will do.
    let secure = TlsFront::start("localhost", world.control_plane.address()).await;
    let machine = machine.in_environment(|_| None, Some(&secure.ca_file)).unwrap();
    let metadata = world.machine_of_any_cloud().metadata;
    let machine = Machine { metadata, cloud: Some(Cloud::Azure), ..machine };
    let said = complaint(&Machine { retry_timeout: RetryTimeout::Unlimited, ..machine }).await;
    assert!(said.contains("does not speak TLS") && said.contains("http://"), "{said}");
}

#[test]
fn an_unusable_ca_file_is_named() {
    let folder = std::env::temp_dir().join(format!("authd-ca-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let world = World::of(Cloud::Azure);
    for (name, content) in [
        ("absent.pem", None),
        ("empty.pem", Some("")),
        ("text.pem", Some("no certificate")),
        ("broken.pem", Some("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")),
    ] {
        let path = folder.join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let machine = world.machine_at("https://coder.example.com");
        let error = machine.in_environment(|_| None, Some(&path)).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
