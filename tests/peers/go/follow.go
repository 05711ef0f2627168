// Follows redirects and next pages through attache with Go's net/http.
//
// usage: [PROXY=URL] go run follow.go URL...
//
// Prints one JSON line a URL: client, status, urls (the URL of each page after redirects), bodies, or error.
package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
)

var next = regexp.MustCompile(`<([^>]*)>[^,]*rel="?next"?`)

type result struct {
	Client string   `json:"client"`
	Status int      `json:"status"`
	Urls   []string `json:"urls"`
	Bodies []string `json:"bodies"`
	Error  string   `json:"error,omitempty"`
}

func follow(client *http.Client, at string) result {
	found := result{Client: "go"}
	for at != "" && len(found.Urls) < 20 {
		answer, err := client.Get(at)
		if err != nil {
			found.Error = err.Error()
			return found
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			found.Error = err.Error()
			return found
		}
		found.Status = answer.StatusCode
		found.Urls = append(found.Urls, answer.Request.URL.String())
		found.Bodies = append(found.Bodies, string(body))
		at = ""
		if link := next.FindStringSubmatch(answer.Header.Get("Link")); link != nil {
			if reference, err := url.Parse(link[1]); err == nil {
				at = answer.Request.URL.ResolveReference(reference).String()
			}
		}
	}
	return found
}

func main() {
	transport := &http.Transport{}
	if at := os.Getenv("PROXY"); at != "" {
		proxy, err := url.Parse(at)
		if err != nil {
			panic(err)
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	client := &http.Client{Transport: transport}
	for _, at := range os.Args[1:] {
		json.NewEncoder(os.Stdout).Encode(follow(client, at))
	}
}
