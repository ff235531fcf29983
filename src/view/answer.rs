//! Requests over HTTP: let in, read within limits, and answered off the threads that listen.

use super::ViewError;
use super::guard::Guard;
use super::pages;
use super::query::{Fields, fields};
use super::site::{Answer, Site};
use crate::report::STYLE;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Bytes of a form.
const FORM_BYTES: usize = 64 << 10;
/// Bytes of an address.
const ADDRESS_BYTES: usize = 8 << 10;
/// From a request's last byte to its answer.
const TIME: Duration = Duration::from_secs(60);
/// Nothing is loaded from anywhere else, and no other page shows these in a frame.
const POLICY: &str = "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// What all requests share.
pub(super) struct Shared {
    pub(super) site: Site,
    pub(super) guard: Guard,
    /// Requests that are worked on at a time; decoding an image takes memory.
    pub(super) work: Semaphore,
}

/// Everything that is answered.
pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new().fallback(answer).with_state(shared)
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let mut response = guarded(shared, request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn guarded(shared: Arc<Shared>, request: Request) -> Response {
    let denied = |why: super::guard::Denied| problem(StatusCode::FORBIDDEN, &why.to_string());
    if let Err(why) = shared.guard.check_host(request.headers()) {
        return denied(why);
    }
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    if path.len() + query.len() > ADDRESS_BYTES {
        return problem(StatusCode::URI_TOO_LONG, "The address is too long.");
    }
    // The look of pages says nothing of anyone's images, and the page that denies is to look like the others.
    match path.as_str() {
        "/view.css" => return asset("text/css; charset=utf-8", [STYLE, include_str!("assets/view.css")].join("\n")),
        "/favicon.ico" => return StatusCode::NO_CONTENT.into_response(),
        "/view.js" => return asset("text/javascript; charset=utf-8", include_str!("assets/view.js").to_owned()),
        _ => {}
    }
    let asked = fields(query.as_bytes());
    if let Some((_, token)) = asked.iter().find(|(name, _)| name == "token").filter(|_| path == "/") {
        return let_in(&shared.guard, token);
    }
    if let Err(why) = shared.guard.check(request.method(), request.headers()) {
        return denied(why);
    }
    let post = request.method() == Method::POST;
    if !post && request.method() != Method::GET {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "Pages are asked for, and forms are sent.");
    }
    let given = match post {
        false => asked,
        true => match form(request.into_body()).await {
            Ok(fields) => fields,
            Err((status, why)) => return problem(status, why),
        },
    };
    let worked = tokio::time::timeout(TIME, worked(Arc::clone(&shared), post, path, given)).await;
    worked.unwrap_or_else(|_| problem(StatusCode::SERVICE_UNAVAILABLE, "This took too long; try again."))
}

/// The page that makes the token a cookie and goes on from this server, whose own pages send it along.
fn let_in(guard: &Guard, token: &str) -> Response {
    if !guard.is_token(token) {
        return problem(StatusCode::FORBIDDEN, &super::guard::Denied::Token.to_string());
    }
    let page = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>isal view</title>\
                <meta http-equiv=\"refresh\" content=\"0; url=/\"><p><a href=\"/\">Go on</a></p></html>";
    let mut response = html(StatusCode::OK, page.to_owned());
    if let Ok(cookie) = HeaderValue::from_str(&guard.cookie(token)) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// The fields of a form, within limits of size and time.
async fn form(body: Body) -> Result<Fields, (StatusCode, &'static str)> {
    match tokio::time::timeout(TIME, to_bytes(body, FORM_BYTES)).await {
        Ok(Ok(bytes)) => Ok(fields(&bytes)),
        Ok(Err(_)) => Err((StatusCode::PAYLOAD_TOO_LARGE, "The form is too large.")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "The form did not come.")),
    }
}

/// What the site makes of a request, on a thread that may wait.
async fn worked(shared: Arc<Shared>, post: bool, path: String, given: Fields) -> Response {
    let Ok(_permit) = shared.work.acquire().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "The server ends.");
    };
    let site = Arc::clone(&shared);
    let work = move || {
        let site = &site.site;
        match (post, path.as_str()) {
            (false, "/") => site.home(),
            (false, "/pool") => site.pool_page(&given),
            (false, "/image") => site.image(&given),
            (false, "/label") => site.label(&given),
            (false, "/picture") => site.picture(&given),
            (true, "/label") => site.say(&given),
            (true, "/import") => site.import(&given),
            _ => Err(ViewError::NoSuch { what: "page", number: path.chars().take(80).collect() }),
        }
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(answer)) => respond(answer),
        Ok(Err(error)) => {
            let status = match error {
                ViewError::NoSuch { .. } => StatusCode::NOT_FOUND,
                ViewError::Label { .. } => StatusCode::BAD_REQUEST,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            problem(status, &crate::error_chain::in_one_line(&error))
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "The server failed on it."),
    }
}

fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Page(page) => html(StatusCode::OK, page),
        Answer::Picture(kind, bytes, keep) => {
            let mut response = ([(CONTENT_TYPE, kind)], Body::from(bytes)).into_response();
            if keep {
                response
                    .headers_mut()
                    .insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400, immutable"));
            }
            response
        }
        Answer::GoTo(address) => match HeaderValue::from_str(&address) {
            Ok(address) => (StatusCode::SEE_OTHER, [(LOCATION, address)]).into_response(),
            Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "There is no such address."),
        },
    }
}

fn html(status: StatusCode, page: String) -> Response {
    (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

fn asset(kind: &'static str, text: String) -> Response {
    ([(CONTENT_TYPE, kind)], text).into_response()
}

fn problem(status: StatusCode, text: &str) -> Response {
    html(status, pages::problem(status.canonical_reason().unwrap_or("Problem"), text))
}
