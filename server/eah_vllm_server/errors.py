"""Errors that are answered before vLLM sees the request, in the same form as vLLM's own."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse


def error_response(status: HTTPStatus, message: str) -> JSONResponse:
    """Make an error answer in the form of OpenAI's API."""
    error = {"message": message, "type": status.phrase, "param": None, "code": status.value}
    return JSONResponse({"error": error}, status)


async def http_error(_: Request, error: Exception) -> JSONResponse:
    """Answer Starlette's own errors (unknown path or method, no JSON), to which vLLM gives another form."""
    assert isinstance(error, HTTPException)
    status, message = HTTPStatus(error.status_code), str(error.detail)
    if isinstance(error.__cause__, RecursionError):
        message = "the request's JSON is nested too deeply"
    elif error.__cause__ is not None:
        message = f"the request's body is no JSON: {error.__cause__}"
    answer = error_response(status, message)
    answer.headers.update(error.headers or {})
    return answer
