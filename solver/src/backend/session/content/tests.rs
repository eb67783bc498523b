//! Reading, listing and writing blobs through the service.

use super::*;
use futures::StreamExt;
use proto::content::WriteAction;
use snapshots::content::Memory;
use tokio_stream::wrappers::ReceiverStream;

const BLOB: &[u8] = b"hello, blob";

fn service() -> (ContentService, Memory) {
    let memory = Memory::new();
    let stores = ContentStores::new();
    stores.insert(
        "oci:a",
        Arc::new(memory.clone()) as Arc<dyn ContentProvider>,
    );
    (ContentService::new(Arc::new(stores)), memory)
}

fn fill(store: &dyn ContentProvider, data: &[u8]) -> Digest {
    let mut writer = store.writer(&snapshots::content::Expected::ANY).unwrap();
    writer.write_all(data).unwrap();
    writer
        .commit(&snapshots::content::Expected::ANY)
        .unwrap()
        .digest
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("buildkit-attachable-store-id", "oci:a".parse().unwrap());
    request
}

async fn read_range(
    service: &ContentService,
    digest: &Digest,
    offset: i64,
    size: i64,
) -> Result<Vec<u8>, Status> {
    let message = ReadContentRequest {
        digest: digest.to_string(),
        offset,
        size,
    };
    let mut answers = service.read(request(message)).await?.into_inner();
    let mut data = Vec::new();
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        assert_eq!(answer.offset, data.len() as i64);
        data.extend_from_slice(&answer.data);
    }
    Ok(data)
}

#[tokio::test]
async fn blobs_are_read_whole_and_in_part() {
    let (service, memory) = service();
    let digest = fill(&memory, BLOB);
    let info = service
        .info(request(InfoRequest {
            digest: digest.to_string(),
        }))
        .await
        .unwrap()
        .into_inner()
        .info
        .unwrap();
    assert_eq!(
        (info.size, info.digest.as_str()),
        (BLOB.len() as i64, digest.as_str())
    );
    assert_eq!(read_range(&service, &digest, 0, 0).await.unwrap(), BLOB);
    assert_eq!(read_range(&service, &digest, 7, 3).await.unwrap(), b"blo");
    assert_eq!(
        read_range(&service, &digest, 7, 100).await.unwrap(),
        b"blob"
    );
    assert_eq!(
        read_range(&service, &digest, 12, 1)
            .await
            .unwrap_err()
            .code(),
        tonic::Code::OutOfRange
    );
}

#[tokio::test]
async fn a_large_blob_is_read_in_pieces() {
    let (service, memory) = service();
    let data: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let digest = fill(&memory, &data);
    assert_eq!(read_range(&service, &digest, 0, 0).await.unwrap(), data);
}

#[tokio::test]
async fn unknown_stores_blobs_and_digests_have_their_own_errors() {
    let (service, _) = service();
    let absent = Digest::sha256(b"absent").to_string();
    let code = |result: Result<Response<InfoResponse>, Status>| result.unwrap_err().code();
    assert_eq!(
        code(
            service
                .info(request(InfoRequest {
                    digest: absent.clone()
                }))
                .await
        ),
        tonic::Code::NotFound
    );
    assert_eq!(
        code(
            service
                .info(request(InfoRequest {
                    digest: "../x".into()
                }))
                .await
        ),
        tonic::Code::InvalidArgument
    );
    assert_eq!(
        code(
            service
                .info(Request::new(InfoRequest {
                    digest: absent.clone()
                }))
                .await
        ),
        tonic::Code::InvalidArgument
    );
    let mut other = Request::new(InfoRequest { digest: absent });
    other
        .metadata_mut()
        .insert("buildkit-attachable-store-id", "oci:b".parse().unwrap());
    assert_eq!(code(service.info(other).await), tonic::Code::NotFound);
}

#[tokio::test]
async fn the_daemon_can_list_but_not_delete() {
    let (service, memory) = service();
    let digest = fill(&memory, BLOB);
    let mut answers = service
        .list(request(ListContentRequest::default()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        answers.next().await.unwrap().unwrap().info[0].digest,
        digest.as_str()
    );
    assert!(answers.next().await.is_none());
    let refused = service
        .delete(request(DeleteContentRequest {
            digest: digest.to_string(),
        }))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(memory.info(&digest).is_ok());
}

struct Writing {
    requests: mpsc::Sender<Result<WriteContentRequest, Status>>,
    answers: Answers<WriteContentResponse>,
}

impl Writing {
    fn start(service: &ContentService) -> Self {
        let (requests, inbound) = mpsc::channel(1);
        let store = service.stores.store("oci:a").unwrap();
        let answers = write::start(
            ReceiverStream::new(inbound),
            "oci:a".into(),
            store,
            Arc::clone(&service.ingests),
        );
        Self { requests, answers }
    }

    async fn ask(&mut self, request: WriteContentRequest) -> Result<WriteContentResponse, Status> {
        self.requests.send(Ok(request)).await.unwrap();
        self.answers.next().await.unwrap()
    }
}

fn message(action: WriteAction, offset: i64, data: &[u8]) -> WriteContentRequest {
    WriteContentRequest {
        action: action.into(),
        r#ref: "r".into(),
        offset,
        data: Bytes::copy_from_slice(data),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_blob_is_written_in_steps_and_committed() {
    let (service, memory) = service();
    let mut writing = Writing::start(&service);
    assert_eq!(
        writing
            .ask(message(WriteAction::Stat, 0, b""))
            .await
            .unwrap()
            .offset,
        0
    );
    assert_eq!(
        writing
            .ask(message(WriteAction::Write, 0, b"hello, "))
            .await
            .unwrap()
            .offset,
        7
    );
    let state = service
        .status(request(StatusRequest { r#ref: "r".into() }))
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap();
    assert_eq!(state.offset, 7);
    let digest = Digest::sha256(BLOB);
    assert!(
        memory.info(&digest).is_err(),
        "nothing is visible before the commit"
    );
    let mut commit = message(WriteAction::Commit, 7, b"blob");
    commit.total = BLOB.len() as i64;
    commit.expected = digest.to_string();
    let answer = writing.ask(commit).await.unwrap();
    assert_eq!(
        (answer.offset, answer.digest.as_str()),
        (11, digest.as_str())
    );
    assert!(writing.answers.next().await.is_none());
    assert_eq!(read_range(&service, &digest, 0, 0).await.unwrap(), BLOB);
    assert!(
        service
            .status(request(StatusRequest { r#ref: "r".into() }))
            .await
            .is_err(),
        "the reference is free again"
    );
}

#[tokio::test]
async fn offset_zero_starts_over_and_a_gap_is_refused() {
    let (service, memory) = service();
    let mut writing = Writing::start(&service);
    writing
        .ask(message(WriteAction::Write, 0, b"wrong"))
        .await
        .unwrap();
    assert_eq!(
        writing
            .ask(message(WriteAction::Write, 0, b"right"))
            .await
            .unwrap()
            .offset,
        5
    );
    writing
        .ask(message(WriteAction::Commit, 5, b""))
        .await
        .unwrap();
    assert!(memory.info(&Digest::sha256(b"right")).is_ok());

    let mut writing = Writing::start(&service);
    writing
        .ask(message(WriteAction::Write, 0, b"ab"))
        .await
        .unwrap();
    let status = writing
        .ask(message(WriteAction::Write, 5, b"cd"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::OutOfRange);
}

#[tokio::test]
async fn a_wrong_digest_stores_nothing() {
    let (service, memory) = service();
    let mut writing = Writing::start(&service);
    let mut commit = message(WriteAction::Commit, 0, b"other");
    commit.expected = Digest::sha256(BLOB).to_string();
    let status = writing.ask(commit).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert!(memory.list().unwrap().is_empty());
}

#[tokio::test]
async fn an_existing_blob_is_reported_before_it_is_sent() {
    let (service, memory) = service();
    let digest = fill(&memory, BLOB);
    let mut writing = Writing::start(&service);
    let mut stat = message(WriteAction::Stat, 0, b"");
    stat.expected = digest.to_string();
    assert_eq!(
        writing.ask(stat).await.unwrap_err().code(),
        tonic::Code::AlreadyExists
    );
}

#[tokio::test]
async fn one_reference_has_one_writer_and_can_be_aborted() {
    let (service, _) = service();
    let mut first = Writing::start(&service);
    first
        .ask(message(WriteAction::Write, 0, b"x"))
        .await
        .unwrap();
    let mut second = Writing::start(&service);
    assert_eq!(
        second
            .ask(message(WriteAction::Stat, 0, b""))
            .await
            .unwrap_err()
            .code(),
        tonic::Code::Unavailable
    );
    service
        .abort(request(AbortRequest { r#ref: "r".into() }))
        .await
        .unwrap();
    assert_eq!(
        first.answers.next().await.unwrap().unwrap_err().code(),
        tonic::Code::Aborted
    );
}
