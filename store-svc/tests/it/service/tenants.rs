//! For whom a call is made: the header on every route that has something of a tenant.

use chassis::client::{Call, Error};
use http::{HeaderName, HeaderValue};
use protocol::api::JobPage;
use protocol::ids::JobId;
use protocol::problem::Kind;
use protocol::schedule::SchedulePage;
use protocol::store_api::{Answer, Applied, Apply, Command, Create};
use protocol::tenant::{HEADER, Tenants};

use super::{Store, create, start};

fn of(call: Call, tenant: &'static str) -> Call {
    call.header(HeaderName::from_static(HEADER), HeaderValue::from_static(tenant))
}

async fn create_for(store: &Store, tenant: &'static str) -> JobId {
    let create: Create = create("noop");
    let job_id = create.job_id;
    let apply = Apply { items: vec![Command::Create(Box::new(create))] };
    let call = of(Call::post("/apply", &apply).expect("json"), tenant);
    let applied: Applied = store.call(&call).await.expect("applied").json().expect("an answer").body;
    assert!(matches!(applied.items[..], [Answer::Ok(_)]));
    job_id
}

async fn status(store: &Store, call: Call) -> u16 {
    match store.call(&call).await {
        Ok(answer) => answer.status.as_u16(),
        Err(Error::Problem { problem, .. }) => problem.status,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn each_route_answers_for_the_tenant_that_the_header_names() {
    let store = start().await;
    let mine = create_for(&store, "acme").await;
    for part in ["", "/explain", "/payload", "/logs"] {
        let path = format!("/jobs/{mine}{part}");
        assert_eq!(status(&store, of(Call::get(&path), "acme")).await, 200, "{path}");
        assert_eq!(status(&store, of(Call::get(&path), "globex")).await, 404, "{path}");
        assert_eq!(status(&store, Call::get(&path)).await, 404, "{path}");
    }
    let result = format!("/jobs/{mine}/result");
    for (tenant, kind) in [("acme", Kind::NotFinished), ("globex", Kind::NotFound)] {
        let Err(Error::Problem { problem, .. }) = store.call(&of(Call::get(&result), tenant)).await else {
            panic!("there is none")
        };
        assert_eq!(problem.kind(), Some(kind), "{tenant}");
    }
    let listed = store.call(&of(Call::get("/jobs"), "acme")).await.expect("a page");
    let page: JobPage = listed.json().expect("a page").body;
    assert_eq!(page.jobs.iter().map(|job| job.job_id).collect::<Vec<_>>(), [mine]);
    assert!(store.get::<JobPage>("/jobs").await.jobs.is_empty());
    assert!(store.get::<SchedulePage>("/schedules").await.schedules.is_empty());
    let tenants: Tenants = store.get("/tenants").await;
    let names: Vec<&str> = tenants.tenants.iter().map(|view| view.tenant.as_str()).collect();
    assert_eq!(names, ["acme", "default"]);
    store.stop().await;
}

#[tokio::test]
async fn a_header_that_names_no_tenant_is_refused() {
    let store = start().await;
    for name in ["", "Acme", "a b", "-a"] {
        let call =
            Call::get("/jobs").header(HeaderName::from_static(HEADER), HeaderValue::from_str(name).expect("text"));
        let Err(Error::Problem { problem, .. }) = store.call(&call).await else { panic!("{name:?} was accepted") };
        assert_eq!(problem.kind(), Some(Kind::BadRequest), "{name:?}");
        assert!(problem.detail.contains("1 to 63"), "{problem}");
    }
    store.stop().await;
}
