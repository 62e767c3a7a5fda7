//! `/_ping`, `/version`, `/info`.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use bollard_stubs::models::{SystemVersion, SystemVersionComponents, SystemVersionPlatform};
use nix::sys::utsname::uname;

use super::{API_VERSION, App, MIN_API_VERSION, blocking};
use crate::engine::error::Result;
use crate::engine::info;
use crate::shape::{self, Ordered};

/// `GET /_ping`
pub async fn ping() -> impl IntoResponse {
    let headers = [
        ("Builder-Version", "1"),
        ("Swarm", "inactive"),
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
        ("Pragma", "no-cache"),
    ];
    (headers, "OK")
}

/// `GET /version`
pub async fn version() -> Json<SystemVersion> {
    let own = env!("CARGO_PKG_VERSION");
    let arch = images::Platform::host().architecture.clone();
    let kernel = kernel_release();
    // Docker's clients read these from the details, and not from the fields.
    let details = [
        ("ApiVersion", API_VERSION),
        ("MinAPIVersion", MIN_API_VERSION),
        ("Arch", &arch),
        ("Os", "linux"),
        ("KernelVersion", &kernel),
        ("Experimental", "false"),
        ("GitCommit", ""),
        ("GoVersion", ""),
        ("BuildTime", ""),
    ];
    let details = details.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let engine = SystemVersionComponents {
        name: "Engine".into(),
        version: own.into(),
        details: Some(details.into_iter().collect()),
    };
    Json(SystemVersion {
        platform: Some(SystemVersionPlatform { name: "Coracle".into() }),
        components: Some(vec![engine]),
        version: Some(own.into()),
        api_version: Some(API_VERSION.into()),
        min_api_version: Some(MIN_API_VERSION.into()),
        git_commit: Some(String::new()),
        go_version: Some(String::new()),
        os: Some("linux".into()),
        arch: Some(arch),
        kernel_version: Some(kernel),
        experimental: None,
        build_time: Some(String::new()),
    })
}

/// `GET /info`
pub async fn info(State(app): State<App>) -> Result<Json<Ordered>> {
    let info = blocking(move || info::info(&app)).await?;
    Ok(Json(shape::complete("Info", &info)))
}

fn kernel_release() -> String {
    uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}
